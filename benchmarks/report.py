"""Time and peak memory of `make report` on one video, stage by stage.

    python benchmarks/report.py VIDEO [--repeats 3]

Each stage is a command of its own in a fresh process; a stage of `explain` is what the longer command takes more than
the shorter one. The reference of the same run decodes every frame with PyAV to RGB and does nothing else. Weights must
be on this machine (`kgvad weights fetch --offline-set`); everything else is made in a temporary folder. A second table
gives the CPU time that explaining adds to decoding, encoding and scoring (no action recogniser), within one process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

KGVAD = str(Path(sys.executable).with_name("kgvad"))
DECODE = "import av, sys\nfor f in av.open(sys.argv[1]).decode(video=0): f.to_ndarray(format='rgb24')"

SHARE = """
import sys, time
from dataclasses import replace
from pathlib import Path
from kgvad.explain.rendering.writers import Outputs
from kgvad.explainers import ExplainRequest, build_explainer
from kgvad.session import Session

class Timed:
    def __init__(self, scorer):
        self.scorer, self.cpu_s = scorer, 0.0

    def score(self, video):
        started = time.process_time()
        scored = self.scorer.score(video)
        self.cpu_s += time.process_time() - started
        return scored

explainer = build_explainer(Session(), ExplainRequest(actions=False))
started = time.process_time()
scorer = Timed(explainer.scorer)
explanation = replace(explainer, scorer=scorer).explain(Path(sys.argv[1]))
explained = time.process_time()
Outputs([Path(sys.argv[2]) / "r.md", Path(sys.argv[2]) / "r.html"], None).write(explanation)
print(len(explanation.report.events), len(explanation.pictures), scorer.cpu_s,
      explained - started - scorer.cpu_s, time.process_time() - explained)
"""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory (MB) of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} exited with {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from kgvad.settings import load_settings

    video = str(arguments.video.resolve())
    weights = os.environ.get("KGVAD_WEIGHTS") or str(load_settings().cache / "weights")
    figures: dict[str, list[tuple[float, float, float]]] = {}
    shares: list[list[float]] = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"KGVAD_WEIGHTS": weights, "KGVAD_HOME": f"{folder}/home"}
            environment |= {"KGVAD_CACHE": f"{folder}/cache", "KGVAD_OFFLINE": "1"}
            explain = [KGVAD, "explain", video, "--output", f"{folder}/r.md", "--output", f"{folder}/r.html"]
            stages = {
                "reference: decode to RGB": [sys.executable, "-c", DECODE, video],
                "kgvad --help": [KGVAD, "--help"],
                "weights (hash check)": [KGVAD, "weights", "fetch", "--offline-set"],
                "anchors, nothing cached": [KGVAD, "build-anchors", "--dataset", "ucf", "--encoder", "minilm"],
                "anchors, facts cached": [KGVAD, "build-anchors", "--dataset", "ucf", "--encoder", "minilm"],
                "features, scores, text": [*explain, "--no-actions", "--no-images"],
                "+ key frames": [*explain, "--no-actions"],
                "+ action recogniser": explain,
            }
            for name, command in stages.items():
                figures.setdefault(name, []).append(measure(command, environment))
            command = [sys.executable, "-c", SHARE, video, folder]
            said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            shares.append([float(value) for value in said.split()])
    reference = median(wall for wall, _, _ in figures["reference: decode to RGB"])
    print(f"| stage ({arguments.video.name}, median of {arguments.repeats}) | wall s | CPU s | peak MB | x reference |")
    print("|---|--:|--:|--:|--:|")
    for name, runs in figures.items():
        wall, cpu, memory = (median(run[i] for run in runs) for i in range(3))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory:.0f} | {wall / reference:.1f} |")
    events, pictures, encoding, seen, written = (median(row[i] for row in shares) for i in range(5))
    print("\n| events | key frames | scoring CPU s | events, evidence, key frames | HTML and Markdown | share |")
    print("|--:|--:|--:|--:|--:|--:|")
    share = f"{(seen + written) / encoding:.1%}"
    print(f"| {events:.0f} | {pictures:.0f} | {encoding:.2f} | {seen:.2f} | {written:.2f} | {share} |")


if __name__ == "__main__":
    main()
