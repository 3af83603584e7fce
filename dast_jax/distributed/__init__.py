"""Several processes that work as one: starting them, leading them, and ending together."""
