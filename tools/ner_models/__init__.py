"""Base models and their adapters: download, conversion, export and serving; and `nano`, the embedded base model."""
