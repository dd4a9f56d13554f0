"""A small test video: sixteen seconds, grey, with a white square that jumps about from 8 to 12 s."""

from __future__ import annotations

import av
import numpy as np

FRAMES, FPS = 320, 20


def write_video(path, frames=FRAMES, grey=110):
    """Write it; ``grey`` is that of the background."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(frames):
            picture = np.full((64, 96, 3), grey, np.uint8)
            if 160 <= index < 240:
                x = (index * 37) % 70
                picture[20:40, x : x + 20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
