"""Encoders alone, by device, precision and batch: time a clip, times real time, memory, and agreement with the CPU.

    python benchmarks/encoders.py VIDEO [--encoders i3d ...] [--device cuda] [--precisions fp32 bf16]
                                  [--batches 1 4 16 64] [--clips 64]

The clips are decoded before anything is timed, and a batch is timed after one warm-up, as the median of several. The
reference is fp32 on the CPU: the largest difference is given in thousandths of its largest value, the cosine as the
smallest of all clips. An encoder may be the folder of a CLIP, BLIP or SigLIP model.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.video.decode import VideoReader
from kgvad.video.encoders.base import VisualEncoder, load_visual_encoder

REFERENCE_CLIPS = 8  # encoded on the CPU
REPEATS = 5


def decoded(path: Path, encoder: VisualEncoder, count: int) -> tuple[NDArray[np.uint8], float]:
    """The first ``count`` clips of a video, and the seconds of footage that a clip stands for."""
    reader = VideoReader(path)
    reader.size = encoder.decode_size(reader.info.width, reader.info.height)
    clips = list(islice(encoder.sampling.clips(reader), count))
    sampling: Any = encoder.sampling
    step_s = getattr(sampling, "step_s", None) or sampling.stride / reader.info.fps
    return np.stack(clips), step_s


def batch_seconds(encoder: VisualEncoder, clips: NDArray[np.uint8], device: str) -> float:
    """Median seconds of one call."""
    taken = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        encoder.encode(clips)
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))


def agreement(own: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
    """Largest difference over the largest value of the reference, and the smallest cosine of a row."""
    rows, wanted = own.reshape(-1, own.shape[-1]), reference.reshape(-1, own.shape[-1])
    cosine = (rows * wanted).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted, axis=1))
    return float(np.abs(rows - wanted).max() / np.abs(wanted).max()), float(cosine.min())


def measure(options: argparse.Namespace, name: str) -> None:
    """Print the rows of one encoder."""
    reference = None
    for precision in options.precisions:
        encoder = load_visual_encoder(name, options.device, precision=precision)
        clips, step_s = decoded(options.video, encoder, options.clips)
        few = clips[:REFERENCE_CLIPS]
        if reference is None:
            reference = load_visual_encoder(name, "cpu").encode(few)
        difference, cosine = agreement(encoder.encode(few), reference)
        for size in options.batches:
            if options.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            part = clips[np.arange(size) % len(clips)]
            seconds = batch_seconds(encoder, part, options.device)
            peak = torch.cuda.max_memory_allocated() / 2**30 if options.device != "cpu" else float("nan")
            own = " *" if size == encoder.batch else ""
            print(
                f"| {Path(name).name} | {precision} | {size}{own} | {1000 * seconds / size:.2f} "
                f"| {size * step_s / seconds:.0f} | {peak:.2f} | {1000 * difference:.3f} | {cosine:.6f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--encoders", nargs="+", default=["efficientnet-lite0", "i3d", "i3d-actions"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--clips", type=int, default=64)
    options = parser.parse_args()
    print("| encoder | precision | batch | ms a clip | times real time | GiB | difference / 1000 | smallest cosine |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for name in options.encoders:
        measure(options, name)
    print("\n* the encoder's own batch")


if __name__ == "__main__":
    main()
