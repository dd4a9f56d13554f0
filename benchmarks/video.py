"""Speed and memory of decoding and encoding one clip, as ratios to a reference of the same run.

    python benchmarks/video.py [VIDEO] [--encoders efficientnet-lite0 i3d i3d-actions] [--repeats 3]

The reference decodes every frame with PyAV to RGB at full size and does nothing else: what any program has to do that
looks at every frame. Without VIDEO the rendered example scene is repeated to one minute. Each measurement is a fresh
process, so its peak memory is its own; the median of the repeats is shown, reference and measurement taking turns.
Encoders are measured as they run and on torch alone; the last column is the second time over the first.
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


def measure_frames(video: Path) -> int:
    from kgvad.video.decode import VideoReader
    from kgvad.video.frame_quality import FrameMeter

    meter = FrameMeter()
    reader = VideoReader(video, size=(224, 224), observe=meter)
    for _ in reader.snippets(positions=(2, 6, 10, 14)):
        pass
    return len(meter.facts().kinds)


TASKS = {
    "reference": reference,
    "decode, 4 of 16 at 224": decode_scaled,
    "decode, all at 224": decode_all,
    "decode, 4 of 16, frame quality": measure_frames,
}
ON_TORCH = " on torch"


def child(task: str, video: Path) -> None:
    """One measurement: imports and weights are loaded before the clock starts."""
    if task in TASKS:
        import kgvad.video.frame_quality  # noqa: F401

        work = TASKS[task]
        start = time.perf_counter()
        frames = work(video)
    else:
        if task.endswith(ON_TORCH):
            sys.modules["onnxruntime"] = None  # type: ignore[assignment]  # as if it were not installed
        from kgvad.video.encoders.base import load_visual_encoder
        from kgvad.video.extract import extract_video

        encoder = load_visual_encoder(task.removesuffix(ON_TORCH))
        start = time.perf_counter()
        frames = extract_video(video, encoder).info.frame_count
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
    parser.add_argument("--encoders", nargs="*", default=["efficientnet-lite0", "i3d", "i3d-actions"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        child(options.task, options.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or one_minute(Path(folder))
        print(
            "| measurement | frames/s | times real time | time / reference | peak MiB | torch / ours |\n"
            "|---|---|---|---|---|---|"
        )
        for task in (*TASKS, *options.encoders):
            compare(task, video, options.repeats, with_torch=task not in TASKS)


def compare(task: str, video: Path, repeats: int, *, with_torch: bool) -> None:
    """Print a row of the table."""
    from kgvad.video.decode import probe

    rounds = []
    for _ in range(repeats):
        names = ("reference", task, *([task + ON_TORCH] if with_torch else []))
        rounds.append([measure(name, video) for name in names])
    seconds = median(one[1]["seconds"] for one in rounds)
    ratio = median(one[1]["seconds"] / one[0]["seconds"] for one in rounds)
    torch = f"{median(one[2]['seconds'] / one[1]['seconds'] for one in rounds):.2f}" if with_torch else ""
    frames, peak = rounds[0][1]["frames"], max(one[1]["peak_mib"] for one in rounds)
    speed = probe(video, exact=True).duration_s / seconds
    print(f"| {task} | {frames / seconds:.0f} | {speed:.1f} | {ratio:.2f} | {peak:.0f} | {torch} |", flush=True)


if __name__ == "__main__":
    main()
