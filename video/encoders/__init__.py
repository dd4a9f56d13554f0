"""Frozen visual encoders: EfficientNet-Lite0, I3D, CLIP, BLIP, SigLIP."""
