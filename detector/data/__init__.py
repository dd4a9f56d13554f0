"""Training and test data: lists, labels, annotations, samples, captions."""
