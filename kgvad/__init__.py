"""kgvad: find abnormal events in video and explain them with knowledge-graph concepts."""
