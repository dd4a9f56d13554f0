"""Metrics, confidence intervals, reports of an evaluation, published figures."""
