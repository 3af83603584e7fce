"""Losses, the compiled training step, and checkpoints."""
