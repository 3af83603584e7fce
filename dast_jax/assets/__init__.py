"""The small base model, tokenizer and problems that the quickstart runs on."""
