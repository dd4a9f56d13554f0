"""A visual encoder that needs no weights."""

import numpy as np

from kgvad.video.sampling import Sampling


class Brightness:
    """A real encoder of one number a snippet, to see what extraction itself does."""

    name = "brightness"
    dim = 1
    weights = "none"
    columns = None
    batch = 2
    fingerprint = "b"
    sampling = Sampling(temporal="mean16")

    def decode_size(self, width, height):
        return width // 2, height // 2

    def encode(self, snippets):
        assert snippets.shape[1:] == (16, 24, 32, 3)
        assert len(snippets) <= self.batch
        return snippets.mean((1, 2, 3, 4), dtype=np.float32)[:, None]
