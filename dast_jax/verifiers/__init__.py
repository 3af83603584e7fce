"""Answer extraction and equivalence, behind a guard."""
