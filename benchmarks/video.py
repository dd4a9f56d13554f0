"""Speed and memory of the video room on one clip, as ratios to a reference of the same run.

    python benchmarks/video.py [VIDEO] [--encoders efficientnet-lite0 i3d] [--repeats 3]

The reference decodes every frame with PyAV to RGB at full size and does nothing else: what any program has to do that
looks at every frame. Without VIDEO the rendered example scene is repeated to one minute. Each measurement is a fresh
process, so its peak memory is its own; the median of the repeats is shown, reference and measurement taking turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


def reference(video: Path) -> int:
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for frame in container.decode(stream) if frame.to_ndarray(format="rgb24") is not None)


def decode_scaled(video: Path) -> int:
    from kgvad.video.decode import VideoReader

    reader = VideoReader(video, size=(224, 224))
    for _ in reader.snippets(positions=(2, 6, 10, 14)):
        pass
    return reader.info.frame_count


def decode_all(video: Path) -> int:
    from kgvad.video.decode import VideoReader

    reader = VideoReader(video, size=(224, 224))
    for _ in reader.snippets():
        pass
    return reader.info.frame_count


def encode(video: Path, name: str) -> int:
    from kgvad.video.encoders.base import load_visual_encoder
    from kgvad.video.extract import extract_video

    encoder = load_visual_encoder(name)
    return extract_video(video, encoder).info.frame_count


def child(task: str, video: Path) -> None:
    """One measurement: imports and weights are loaded before the clock starts."""
    tasks = {"reference": reference, "decode, 4 of 16 at 224": decode_scaled, "decode, all at 224": decode_all}
    if task in tasks:
        import kgvad.video.decode  # noqa: F401

        work = tasks[task]
        start = time.perf_counter()
        frames = work(video)
    else:
        from kgvad.video.encoders.base import load_visual_encoder

        load_visual_encoder(task)
        start = time.perf_counter()
        frames = encode(video, task)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "frames": frames, "peak_mib": peak}))


def measure(task: str, video: Path) -> dict[str, float]:
    command = [sys.executable, __file__, str(video), "--task", task]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def one_minute(folder: Path) -> Path:
    from itertools import chain, islice

    from kgvad.video import demo
    from kgvad.video.write import write_video

    return write_video(folder / "minute.mp4", islice(chain(demo.frames(), demo.frames()), 60 * demo.FPS), demo.FPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--encoders", nargs="*", default=["efficientnet-lite0", "i3d"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        child(options.task, options.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or one_minute(Path(folder))
        print("| measurement | frames/s | s per snippet | time / reference | peak MiB |\n|---|---|---|---|---|")
        for task in ("reference", "decode, 4 of 16 at 224", "decode, all at 224", *options.encoders):
            pairs = [(measure("reference", video), measure(task, video)) for _ in range(options.repeats)]
            seconds = median(own["seconds"] for _, own in pairs)
            ratio = median(own["seconds"] / plain["seconds"] for plain, own in pairs)
            frames, peak = pairs[0][1]["frames"], max(own["peak_mib"] for _, own in pairs)
            print(
                f"| {task} | {frames / seconds:.0f} | {16 * seconds / frames:.4f} | {ratio:.2f} | {peak:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
