"""Progress, interruption, profiling."""
