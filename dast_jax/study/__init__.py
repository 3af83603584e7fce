"""Methods × seeds: running them, and the results."""
