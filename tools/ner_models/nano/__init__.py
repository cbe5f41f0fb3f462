"""The embedded base model `nano`: a small Qwen2 pretrained on generated text; weights in ``data/nano``."""
