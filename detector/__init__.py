"""From snippet features to anomaly scores: detectors, how they are trained, and how they are measured.

``api``         what a detector is, receives and returns; ``registry`` finds them by name
``data``        labels, annotations, features and captions as training samples
``run``         a trained detector with its settings, in a folder
``models``      the detectors
``scoring``     scores of a video, by a run or without training, and files of scores
``evaluation``  metrics, intervals and tables
``training``    the training loop, seeds, thresholds and tuning
"""
