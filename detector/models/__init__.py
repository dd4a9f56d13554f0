"""The anchor-aligned detectors, the published ones (zoo), and the parts and losses they share."""
