"""``python -m kgvad``."""

from kgvad.cli import main

main()
