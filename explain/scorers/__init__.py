"""Sources of anomaly scores. Each scorer turns a video, or a file about one, into a :class:`~.base.ScoredVideo`."""
