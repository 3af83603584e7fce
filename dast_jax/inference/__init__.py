"""Work with one model outside a run: sampling prompts, evaluating, comparing estimators."""
