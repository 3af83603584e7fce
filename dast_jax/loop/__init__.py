"""The self-training loop and its stages."""
