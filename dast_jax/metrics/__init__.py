"""Statistics and FLOPs: pure functions."""
