"""Time and memory of every detector: a training step, one 256-snippet chunk, and one UCF-Crime evaluation.

    OMP_NUM_THREADS=1 python benchmarks/detectors.py [--detectors vadclip ...] [--device cuda --dtype bf16]

A step has 64 + 64 videos of 256 snippets x 512. The reference is VadCLIP as its authors implement it: attention over
all 256 snippets with a mask, a distance graph built for every batch, and a text encoder (of the size of CLIP's, random
weights) in every call. Each detector runs in a process of its own, for its peak memory; ratios are of CPU seconds of
the process. A step is timed after a warm-up with four videos: once if it takes seconds, else the median of several.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

VIDEOS, SNIPPETS, DIM, CATEGORIES = 128, 256, 512, 14
SLOW = 3.0  # seconds
NAMES = [
    "reference-vadclip",
    "vadclip",
    "anchor-aligned",
    "anchor-text",
    "anchor-fused",
    "sultani",
    "rtfm",
    "clip_tsa",
    "dsanet",
    "semvad",
]


class MaskedAttention(nn.Module):
    """Full attention with an additive mask, in place of windows as batch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        layer = self.layer
        size = x.shape[1]
        place = torch.arange(size, device=x.device) // layer.window
        mask = torch.zeros(size, size, device=x.device).masked_fill(place[:, None] != place[None], -torch.inf)
        y = layer.norm1(x)
        q, k, v = F.linear(y, layer.qkv.weight, layer.qkv.bias).chunk(3, -1)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
        x = x + layer.out(weights @ v)
        return x + layer.mlp(layer.norm2(x))


class ReferenceActivation(nn.Module):
    """QuickGELU as in CLIP's code."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(1.702 * z)


def reference_implementation(model: nn.Module) -> nn.Module:
    """VadCLIP as its authors implement it; the text encoder runs in every forward pass."""
    from kgvad.detector.models.temporal import FeedForward, QuickGELU

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FeedForward):
                setattr(parent, name, nn.Sequential(child[0], ReferenceActivation(), child[2]))
            elif isinstance(child, QuickGELU):
                setattr(parent, name, ReferenceActivation())
    temporal = model.temporal
    temporal.local = nn.ModuleList(MaskedAttention(layer) for layer in temporal.local)
    block = nn.TransformerEncoderLayer(DIM, 8, 4 * DIM, 0.0, batch_first=True, norm_first=True)
    tower = nn.TransformerEncoder(block, 12, enable_nested_tensor=False)
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    tokens = nn.Parameter(torch.randn(77, DIM) * 0.01)
    model.tower, model.tokens = tower, tokens
    usual = model.forward

    def text_features() -> Tensor:
        return model.tower(model.tokens.expand(CATEGORIES, -1, -1))[:, 20]

    def forward(features: Tensor, lengths: Tensor, text: Tensor | None = None) -> object:
        from kgvad.detector.models.temporal import distance_graph

        temporal.distance = distance_graph(SNIPPETS).to(features).expand(len(features), -1, -1).contiguous()[0]
        return usual(features, lengths, text)

    model.text_features, model.forward = text_features, forward
    return model


def timed(action: Callable[[], None], device: str, times: int) -> tuple[float, float]:
    """Median wall and CPU seconds of ``times`` calls, of fewer where one takes longer than ``SLOW``."""
    wall, cpu = [], []
    while len(wall) < times and (not wall or wall[-1] < SLOW):
        started, used = time.perf_counter(), time.process_time()
        action()
        if device != "cpu":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return float(np.median(wall)), float(np.median(cpu))


def measure(name: str, device: str, dtype: str, repeats: int, micro_batch: int = 0) -> dict[str, float | str]:
    """Measurements of one detector."""
    from kgvad.detector.api import Batch, Problem
    from kgvad.detector.registry import build
    from kgvad.detector.training.gradient_accumulation import backward

    torch.manual_seed(0)
    anchors = F.normalize(torch.randn(CATEGORIES, DIM), dim=-1)
    concepts = F.normalize(torch.randn(250, DIM), dim=-1)
    member = torch.arange(250) % CATEGORIES
    problem = Problem(DIM, tuple(map(str, range(CATEGORIES))), 0, anchors, concepts, member, 384)
    compatible = {"compatible": True} if name in ("vadclip", "reference-vadclip") else {}
    model = build(name.removeprefix("reference-"), problem, compatible)
    if name == "reference-vadclip":
        model, micro_batch = reference_implementation(model), VIDEOS  # the whole batch in memory
    model = model.to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-5)
    cast = torch.autocast(device.split(":")[0], torch.bfloat16, enabled=dtype == "bf16")

    def make(videos: int) -> Batch:
        targets = torch.eye(CATEGORIES, device=device)[torch.arange(videos) % CATEGORIES]
        targets[::2] = torch.eye(CATEGORIES, device=device)[0]
        text = torch.randn(videos, SNIPPETS, 384, device=device) if model.reads_captions else None
        lengths = torch.full((videos,), SNIPPETS, device=device)
        return Batch(torch.randn(videos, SNIPPETS, DIM, device=device), lengths, targets, 0, text)

    def step(batch: Batch) -> None:
        optimiser.zero_grad(set_to_none=True)
        with cast:
            backward(model, batch, micro_batch)
        optimiser.step()

    def chunk(batch: Batch) -> None:
        with torch.inference_mode(), cast:
            model(batch.features, batch.lengths, batch.captions)

    model.train()
    step(make(4))
    batch = make(VIDEOS)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    step_wall, step_cpu = timed(lambda: step(batch), device, repeats)
    if device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    else:
        peak = torch.cuda.max_memory_allocated() / 2**30
    model.eval()
    single = make(1)
    chunk(single)
    chunk_wall, chunk_cpu = timed(lambda: chunk(single), device, 5 * repeats)
    with torch.inference_mode(), cast:
        alignment = model(single.features, single.lengths, single.captions).alignment
    return {
        "detector": name,
        "parameters": sum(p.numel() for p in parameters),
        "step_wall_s": step_wall,
        "step_cpu_s": step_cpu,
        "chunk_wall_s": chunk_wall,
        "chunk_cpu_s": chunk_cpu,
        "peak_gib": peak,
        "evaluation_cpu_s": evaluation_seconds(alignment is not None),
    }


def evaluation_seconds(categories: bool) -> float:
    """CPU seconds of all metrics, with ``categories`` also both mAPs, for 290 videos of 70,000 snippets."""
    from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
    from kgvad.detector.evaluation.frame_metrics import measure as frame_metrics
    from kgvad.detector.evaluation.temporal_map import temporal_map

    random = np.random.default_rng(0)
    names = tuple(map(str, range(CATEGORIES)))
    videos = []
    for number in range(290):
        snippets = int(random.integers(40, 440))
        edges = np.arange(snippets + 1) * 16
        label = names[1 + number % 13] if number % 2 else None
        events = ((label, 16 * (snippets // 3), 16 * (snippets // 2)),) if label else ()
        spans = tuple((start, end) for _, start, end in events)
        logits = random.normal(size=(snippets, CATEGORIES)) if categories else None
        videos.append(
            EvaluatedVideo(
                str(number), (label,) if label else (), random.uniform(size=snippets), edges, spans, logits, events
            )
        )
    started = time.process_time()
    frame_metrics(videos, names, 0)
    if categories:
        temporal_map(videos, names, 0, "legacy")
        temporal_map(videos, names, 0)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="*", default=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=0, help="Videos in memory together; 0: all of a batch.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.device, options.dtype, options.repeats, options.micro_batch)))
        return
    print(f"{options.device}, {options.dtype}, {torch.get_num_threads()} threads\n")
    print(
        "| detector | parameters | step CPU s | ratio | step wall s | chunk CPU s | ratio | peak GiB | ratio "
        "| evaluation CPU s |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    first: dict[str, float] = {}
    for name in options.detectors:
        command = [sys.executable, __file__, "--one", name, "--device", options.device, "--dtype", options.dtype]
        command += ["--repeats", str(options.repeats), "--micro-batch", str(options.micro_batch)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {name} | failed: {(done.stderr.strip().splitlines() or ['killed'])[-1][:120]} |")
            continue
        row = json.loads(done.stdout)
        first = first or row
        print(
            f"| {name} | {row['parameters']:,} | {row['step_cpu_s']:.2f} "
            f"| {row['step_cpu_s'] / first['step_cpu_s']:.3f} | {row['step_wall_s']:.2f} | {row['chunk_cpu_s']:.4f} "
            f"| {row['chunk_cpu_s'] / first['chunk_cpu_s']:.3f} | {row['peak_gib']:.2f} "
            f"| {row['peak_gib'] / first['peak_gib']:.2f} | {row['evaluation_cpu_s']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
