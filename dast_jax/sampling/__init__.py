"""The batched sampling engine (device) and its scheduler (host)."""
