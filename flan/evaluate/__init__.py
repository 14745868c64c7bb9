"""Metrics: what a model does on tasks, with spread, n and intervals."""
