"""Time and memory of every detector: a training step, one 256-snippet chunk, and one UCF-Crime evaluation.

    python benchmarks/detectors.py [--detectors anchor-aligned vadclip ...] [--device cuda --dtype bf16]

A step has 64 + 64 videos of 256 rows x 512. The reference is VadCLIP the way its authors run it: attention over all 256
rows with a mask, the distance graph built anew for the batch, and a text tower (CLIP's size, random weights) in every
call. Each detector runs in a process of its own, so peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

VIDEOS, ROWS, DIM, CATEGORIES = 128, 256, 512, 14
NAMES = ["plain-vadclip", "vadclip", "anchor-aligned", "sultani", "rtfm", "clip_tsa", "dsanet", "semvad"]


class PlainAttention(nn.Module):
    """What replaces the folded windows: full attention with an additive mask."""

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


def plain(model: nn.Module) -> nn.Module:
    """VadCLIP in the plain way; the text tower runs in every forward pass."""
    temporal = model.temporal
    temporal.local = nn.ModuleList(PlainAttention(layer) for layer in temporal.local)
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
        from kgvad.detector.temporal import distance_graph

        temporal.distance = distance_graph(ROWS).to(features).expand(len(features), -1, -1).contiguous()[0]
        return usual(features, lengths, text)

    model.text_features, model.forward = text_features, forward
    return model


def measure(name: str, device: str, dtype: str, repeats: int) -> dict[str, float | str]:
    """Figures of one detector."""
    from kgvad.detector.api import Batch, Problem, build
    from kgvad.detector.train import backward

    torch.manual_seed(0)
    anchors = F.normalize(torch.randn(CATEGORIES, DIM), dim=-1)
    concepts = F.normalize(torch.randn(250, DIM), dim=-1)
    member = torch.arange(250) % CATEGORIES
    problem = Problem(DIM, tuple(map(str, range(CATEGORIES))), 0, anchors, concepts, member, 384)
    compatible = {"compatible": True} if name in ("vadclip", "plain-vadclip") else {}
    model = build(name.removeprefix("plain-"), problem, compatible)
    if name == "plain-vadclip":
        model = plain(model)
    model = model.to(device)
    lengths = torch.full((VIDEOS,), ROWS, device=device)
    targets = torch.eye(CATEGORIES, device=device)[torch.arange(VIDEOS) % CATEGORIES]
    targets[::2] = torch.eye(CATEGORIES, device=device)[0]
    text = torch.randn(VIDEOS, ROWS, 384, device=device) if name == "semvad" else None
    batch = Batch(torch.randn(VIDEOS, ROWS, DIM, device=device), lengths, targets, 0, text)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    cast = torch.autocast(device.split(":")[0], torch.bfloat16, enabled=dtype == "bf16")

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with cast:
            backward(model, batch)
        optimiser.step()

    def chunk() -> None:
        with torch.inference_mode(), cast:
            model(batch.features[:1], lengths[:1], None if text is None else text[:1])

    def timed(action, times: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
        action()
        wall, cpu = [], []
        for _ in range(times):
            started, used = time.perf_counter(), time.process_time()
            action()
            if device != "cpu":
                torch.cuda.synchronize()
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
        return float(np.median(wall)), float(np.median(cpu))

    model.train()
    step_wall, step_cpu = timed(step, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    model.eval()
    chunk_wall, chunk_cpu = timed(chunk, 5 * repeats)
    return {
        "detector": name,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "step_wall_s": step_wall,
        "step_cpu_s": step_cpu,
        "chunk_wall_s": chunk_wall,
        "chunk_cpu_s": chunk_cpu,
        "peak_gib": peak,
    }


def evaluation_seconds() -> float:
    """CPU seconds of all figures and both mAPs for 290 videos of 70,000 snippets and 14 categories."""
    from kgvad.detector.detection import detection_map
    from kgvad.detector.metrics import Track
    from kgvad.detector.metrics import measure as figures

    random = np.random.default_rng(0)
    names = tuple(map(str, range(CATEGORIES)))
    tracks = []
    for number in range(290):
        rows = int(random.integers(40, 440))
        edges = np.arange(rows + 1) * 16
        label = names[1 + number % 13] if number % 2 else None
        events = ((label, 16 * (rows // 3), 16 * (rows // 2)),) if label else ()
        spans = tuple((start, end) for _, start, end in events)
        logits = random.normal(size=(rows, CATEGORIES))
        tracks.append(
            Track(str(number), (label,) if label else (), random.uniform(size=rows), edges, spans, logits, events)
        )
    started = time.process_time()
    figures(tracks, names, 0)
    detection_map(tracks, names, 0, "legacy")
    detection_map(tracks, names, 0)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="*", default=NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.device, options.dtype, options.repeats)))
        return
    rows = []
    for name in options.detectors:
        command = [sys.executable, __file__, "--one", name, "--device", options.device, "--dtype", options.dtype]
        done = subprocess.run([*command, "--repeats", str(options.repeats)], capture_output=True, text=True)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1][:120]} |")
            continue
        rows.append(json.loads(done.stdout))
    first = rows[0]
    print(f"reference: {first['detector']}; torch threads {torch.get_num_threads()}\n")
    print("| detector | parameters | step CPU s | ratio | step wall s | chunk CPU s | ratio | peak GiB | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['detector']} | {row['parameters']:,} | {row['step_cpu_s']:.2f} "
            f"| {row['step_cpu_s'] / first['step_cpu_s']:.2f} | {row['step_wall_s']:.2f} | {row['chunk_cpu_s']:.4f} "
            f"| {row['chunk_cpu_s'] / first['chunk_cpu_s']:.2f} | {row['peak_gib']:.2f} "
            f"| {row['peak_gib'] / first['peak_gib']:.2f} |"
        )
    print(f"\none evaluation of 290 videos (all figures, both mAPs): {evaluation_seconds():.2f} CPU s")


if __name__ == "__main__":
    main()
