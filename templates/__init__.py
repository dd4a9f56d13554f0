"""Jinja templates, one per output format, read as package data by `kgvad.explain`."""
