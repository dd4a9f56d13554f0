"""From scores to a report: events, evidence, severity."""
