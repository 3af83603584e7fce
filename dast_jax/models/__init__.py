"""The Flax Llama, its sharding, and Hugging Face and GGUF import and export."""
