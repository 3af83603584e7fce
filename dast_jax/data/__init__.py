"""Query sources, schemas, prompts and packing."""
