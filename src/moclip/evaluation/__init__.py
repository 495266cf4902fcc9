"""Evaluation: scores, metrics, statistics and costs."""
