"""Remove what reports of the shipped run cite, on the official UCF-Crime test videos with published I3D logits.

    python benchmarks/faithfulness.py SHARED

SHARED is the folder of research data of ``benchmarks/train_shipped.py``. The run is the shipped one with the centre of
the published logits, which another program made. Prints the table of ``kgvad explain-eval``: drops of score and
category without the cited evidence, and with it alone, each beside as much random evidence, with 95 % intervals of the
difference. For a run of your own: ``kgvad explain-eval --run RUN --features STORE --videos FILE``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from explain_pixels import Pixels
from train_shipped import DATASET, deletion

from kgvad.detector.data.annotations import read_truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    shared = parser.parse_args().shared
    pixels = Pixels.load(shared)
    with (shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
        frames = {row["video"]: int(row["n_frames"]) for row in csv.DictReader(file)}
    print(deletion(pixels.run, pixels.logits, read_truth(DATASET, shared / "data" / "ucf"), frames))


if __name__ == "__main__":
    main()
