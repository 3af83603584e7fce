"""Self-training methods, one small file each, named as in the config (`method.name`)."""
