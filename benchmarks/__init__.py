"""Experiments: scripts that append one JSON line a run to ``results``."""
