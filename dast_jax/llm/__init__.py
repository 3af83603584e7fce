"""Another model behind an OpenAI-compatible endpoint: the client, the judge, the tagger."""
