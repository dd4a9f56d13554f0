"""Measures of how good and how faithful reports are."""
