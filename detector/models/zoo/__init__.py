"""Published detectors, built from the same parts; each file names its paper and its defaults."""
