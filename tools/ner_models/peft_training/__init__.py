"""LoRA by plain transformers and PEFT: the recipe's keys, its records as token ids, and the training."""
