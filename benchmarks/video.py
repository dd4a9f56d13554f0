"""Speed and memory of extraction, as ratios to decoding alone and to the loop that research code uses, in one run.

    python benchmarks/video.py [VIDEO ...] [--encoders efficientnet-lite0 i3d] [--precisions fp32 bf16]
                               [--minutes 1 10 60] [--repeats 3] [--cores 1] [--quick]

``decode alone``  FFmpeg decodes every frame and drops it (``ffmpeg -f null``; PyAV where there is no ffmpeg).
``plain loop``    OpenCV reads every frame, scales those that the encoder sees, and torch encodes them one by one
                  (I3D: snippet by snippet). Needs ``pip install opencv-python-headless``.
``kgvad``         ``kgvad extract`` into an empty store.

All are whole processes, start included, and take turns, so that other work on the machine meets all of them. On a busy
machine use ``--cores 1``: threads of torch that wait for each other there cost the plain loop many times its time.
Without VIDEO a minute of the rendered example scene is measured at 320 x 240 and at 1920 x 1080. The second table shows
whether memory grows with the length: the scene at 1080p, repeated by copying its packets, one frame a snippet. The
third says where the CPU time of a frame goes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

EACH_SNIPPET = 16  # frames
SEEN = {"efficientnet-lite0": (2, 6, 10, 14), "i3d": tuple(range(EACH_SNIPPET))}  # frames of a snippet
CLIP_S = 20  # seconds of the scene that are encoded; longer videos repeat them


@dataclass
class Cost:
    """What a process took: seconds, CPU seconds of all its threads, and the most memory."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measured(command: list[str]) -> Cost:
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def decode_alone(video: Path) -> Cost:
    if shutil.which("ffmpeg"):
        return measured(["ffmpeg", "-v", "error", "-i", str(video), "-map", "0:v:0", "-f", "null", "-"])
    return measured([sys.executable, __file__, str(video), "--task", "decode"])


def plain_loop(video: Path, encoder: str) -> Cost:
    return measured([sys.executable, __file__, str(video), "--task", f"loop {encoder}"])


def ours(video: Path, encoder: str, *options: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kgvad", "extract", str(video), "--encoder", encoder, "--output", folder]
        return measured([*command, *options])


def run_decode(video: Path) -> None:
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass


def run_loop(video: Path, encoder: str) -> None:
    """What scripts around published detectors do."""
    import cv2
    import numpy as np
    import torch

    from kgvad.video.encoders.base import load_visual_encoder

    loaded: Any = load_visual_encoder(encoder)
    network = loaded.runner.torch_network.to(memory_format=torch.contiguous_format)
    capture = cv2.VideoCapture(str(video))
    features, snippet, index = [], [], 0
    with torch.inference_mode():
        while True:
            read, frame = capture.read()
            if not read:
                break
            if index % EACH_SNIPPET in SEEN[encoder]:
                width, height = (224, 224) if encoder != "i3d" else loaded.decode_size(frame.shape[1], frame.shape[0])
                frame = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
                top, left = (height - 224) // 2, (width - 224) // 2
                pixels = torch.from_numpy(frame[top : top + 224, left : left + 224].copy()).permute(2, 0, 1).float()
                if encoder == "i3d":
                    snippet.append(pixels / 127.5 - 1)
                else:
                    snippet.append(network((pixels[None] - 127) / 128)[0])
            index += 1
            if index % EACH_SNIPPET == 0:
                stacked = torch.stack(snippet, 1) if encoder == "i3d" else torch.cat(snippet)
                features.append((network(stacked[None])[0][0] if encoder == "i3d" else stacked.mean(0)).numpy())
                snippet = []
    np.save(os.devnull, np.stack(features))


def stages(video: Path, encoders: list[str]) -> dict[str, float]:
    """CPU milliseconds a frame of the video for each stage, the stages before it left out."""
    import av

    from kgvad.video.container import Converter
    from kgvad.video.decode import VideoReader
    from kgvad.video.encoders.base import load_visual_encoder
    from kgvad.video.frame_quality import FrameMeter

    def frames() -> Iterator[Any]:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from islice(container.decode(stream), 480)

    def per_frame(work: Callable[[], int]) -> float:
        start = time.process_time()
        count = work()
        return (time.process_time() - start) / count * 1e3

    def measure_quality() -> int:
        meter = FrameMeter()
        for frame in frames():
            meter(frame, frame.time)
        return len(meter.facts().kinds)

    def convert() -> int:
        converter = Converter((224, 224), 0)
        return len([converter(frame) for frame in frames()])

    decoding = per_frame(lambda: sum(1 for _ in frames()))
    found = {"decode": decoding, "frame quality": per_frame(measure_quality) - decoding}
    found["picture of 4 of 16 frames"] = (per_frame(convert) - decoding) / 4
    for name in encoders:
        encoder = load_visual_encoder(name)
        reader = VideoReader(video)
        reader.size = encoder.decode_size(reader.info.width, reader.info.height)
        clip = next(iter(encoder.sampling.clips(reader)))[None]
        encoder.encode(clip)
        found[f"encode, {name}"] = per_frame(lambda e=encoder, c=clip: [e.encode(c) for _ in range(4)] and 64)  # type: ignore[misc]
    return found


def scene(path: Path, size: tuple[int, int], seconds: float) -> Path:
    """The rendered example scene at another size, as H.264; its packets are repeated where it is longer."""
    import av

    from kgvad.video import demo
    from kgvad.video.write import H264Stream

    clip = path.with_name(f"clip-{path.name}")
    with av.open(str(clip), "w") as container:
        stream = H264Stream(container, *size, Fraction(demo.FPS), crf=23)
        for index, picture in enumerate(islice(demo.frames(), int(min(CLIP_S, seconds) * demo.FPS))):
            stream.write(av.VideoFrame.from_ndarray(picture, format="rgb24"), index / demo.FPS)
        stream.finish()
    with av.open(str(path), "w") as output:
        copy: Any = None
        for number in range(max(1, round(seconds / CLIP_S))):
            with av.open(str(clip)) as source:
                original = source.streams.video[0]
                copy = copy or output.add_stream_from_template(original)
                offset = int(number * CLIP_S / original.time_base)
                for packet in source.demux(original):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, copy
                        output.mux(packet)
    return path


def middle(costs: list[Cost]) -> Cost:
    return Cost(*(median(getattr(one, name) for one in costs) for name in ("wall_s", "cpu_s", "peak_mb")))


def speed_table(video: Path, encoders: list[str], precisions: list[str], repeats: int) -> None:
    from kgvad.video.decode import probe

    info = probe(video, exact=True)
    print(f"\n{info.width} x {info.height}, {info.frame_count} frames, {info.duration_s:.0f} s ({video.name})\n")
    print("| process | wall s | CPU s | frames/s | x real time | peak MB | CPU / decode | wall / loop | CPU / loop |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    rounds: list[dict[str, Cost]] = []
    for _ in range(repeats):
        costs = {"decode alone": decode_alone(video)}
        for name in encoders:
            costs[f"plain loop, {name}"] = plain_loop(video, name)
            for precision in precisions:
                costs[f"kgvad, {name}, {precision}"] = ours(video, name, "--precision", precision)
        rounds.append(costs)
    for process in rounds[0]:
        cost = middle([one[process] for one in rounds])
        decoding = median(one[process].cpu_s / one["decode alone"].cpu_s for one in rounds)
        ratios, peak = " | |", ""  # the peak of a smaller process than this one would be that of this one
        if ", " in process:
            loop = f"plain loop, {process.split(', ')[1]}"
            walls = median(one[process].wall_s / one[loop].wall_s for one in rounds)
            peak = f"{cost.peak_mb:.0f}"
            ratios = f" | {walls:.2f} | {median(one[process].cpu_s / one[loop].cpu_s for one in rounds):.2f}"
        print(
            f"| {process} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {info.frame_count / cost.wall_s:.0f} "
            f"| {info.duration_s / cost.wall_s:.1f} | {peak} | {decoding:.2f}{ratios} |",
            flush=True,
        )


def length_table(folder: Path, minutes: list[float]) -> None:
    print(
        "\n| minutes of 1080p | decode alone, wall s | kgvad, wall s | wall ratio | CPU ratio | x real time | peak MB |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for length in minutes:
        video = scene(folder / f"{length:g}.mp4", (1920, 1080), length * 60)
        alone, full = decode_alone(video), ours(video, "efficientnet-lite0", "--temporal", "centre")
        video.unlink()
        print(
            f"| {length:g} | {alone.wall_s:.1f} | {full.wall_s:.1f} | {full.wall_s / alone.wall_s:.2f} "
            f"| {full.cpu_s / alone.cpu_s:.2f} | {length * 60 / full.wall_s:.1f} | {full.peak_mb:.0f} |",
            flush=True,
        )


def stage_table(video: Path, encoders: list[str]) -> None:
    command = [sys.executable, __file__, str(video), "--task", "stages", "--encoders", *encoders]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(f"\n| stage ({video.name}) | CPU ms a frame of the video |\n|---|--:|")
    for stage, milliseconds in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"| {stage} | {milliseconds:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--encoders", nargs="*", default=list(SEEN), choices=list(SEEN))
    parser.add_argument("--precisions", nargs="*", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10, 60])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, help="cores that all processes may use; default: all")
    parser.add_argument("--quick", action="store_true", help="a few seconds of video, once")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task == "decode":
        run_decode(options.videos[0])
    elif options.task == "stages":
        print(json.dumps(stages(options.videos[0], options.encoders)))
    elif options.task:
        run_loop(options.videos[0], options.task.split()[1])
    else:
        seconds = 60.0
        if options.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
        if options.quick:
            seconds, options.repeats, options.minutes = 4.0, 1, [1 / 15, 1]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sizes = {"small.mp4": (320, 240), "1080p.mp4": (1920, 1080)}
            videos = options.videos or [scene(folder / file, size, seconds) for file, size in sizes.items()]
            for video in videos:
                speed_table(video, options.encoders, options.precisions, options.repeats)
            for video in videos:
                stage_table(video, options.encoders)
            length_table(folder, options.minutes)


if __name__ == "__main__":
    main()
