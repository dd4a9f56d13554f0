"""From features, captions or a file to anomaly scores."""
