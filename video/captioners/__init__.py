"""Captions of videos: a model looks at each clip of a video and says in words what it shows."""

FORMAT = "kgvad captions"  # in the files of :mod:`.caption_folder`
VERSION = 1
