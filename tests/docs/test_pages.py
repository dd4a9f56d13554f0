"""What holds for every page: code that runs, links that lead somewhere, short lines, nothing about its making."""

import re

import pytest
import torch
from pages import PAGES, ROOT, blocks

WRITTEN = [page for page in PAGES if page.parent.name != "examples"]
HISTORY = re.compile(
    r"was lent|were lent|none lent|others of the project|\.\./shared|\bsession's\b|this workplace", re.I
)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_short_and_tell_nothing_of_how_the_project_was_made(page):
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        assert len(line) <= 120, f"{page.name}:{number} has {len(line)} characters"
        assert not HISTORY.search(line), f"{page.name}:{number}: {line}"


def test_links_of_the_files_outside_the_site_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text("utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"


def test_readme_and_architecture_are_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 100
    assert len((ROOT / "docs/architecture.md").read_text("utf-8").splitlines()) <= 120


def test_the_detector_of_the_guide_learns():
    from kgvad.detector.api import Batch

    (code,) = [one for one in blocks(ROOT / "docs/guides/my-detector.md", "python") if "MeanMil" in one]
    scope = {"__name__": "mean_mil"}
    exec(compile(code, "mean_mil.py", "exec"), scope)
    detector = scope["MeanMil"](problem(), scope["MeanMilConfig"](hidden=8))
    torch.manual_seed(0)
    features = torch.randn(6, 5, 4)
    features[3:] += 2
    targets = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    batch = Batch(features=features, lengths=torch.tensor([5, 4, 3, 5, 4, 3]), targets=targets, normal=0)
    optimiser = torch.optim.Adam(detector.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = detector.losses(detector(features, batch.lengths), batch)["bce"]
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def problem():
    from kgvad.detector.api import Problem

    return Problem(dim=4, categories=("Normal", "Fighting"), normal=0)
