"""From video files to snippet features.

decode              video file -> frames and snippets, one pass, constant memory
sampling            which part of a frame and which frames of a snippet an encoder sees
encoders            snippets -> features: EfficientNet-Lite0, I3D, CLIP, BLIP, SigLIP
feature_store       features on disk, with a manifest that says how they were made
extract             one video or a folder of videos -> features
action_recognition  what I3D recognises in parts of a video
"""

SNIPPET_FRAMES = 16
"""Frames in a snippet, the unit that is scored."""
