"""A model's life: download, convert, export, quantise, serve; and the small base model `nano`."""
