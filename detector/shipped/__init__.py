"""Runs that come with kgvad, each a run folder with a model card."""

from __future__ import annotations

from pathlib import Path

UCF_ACTIONS = Path(__file__).parent / "ucf_actions"  # UCF-Crime's categories from scores of I3D actions
