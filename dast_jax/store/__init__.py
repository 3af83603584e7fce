"""The run directory: durable files, the response log, training sets, metrics, the summary."""
