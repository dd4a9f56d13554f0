"""Where the scores of a report come from."""
