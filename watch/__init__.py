"""Live cameras: causal scores, events that open and close, reports, sinks, calibration of a camera's thresholds."""
