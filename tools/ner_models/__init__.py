"""A model's life: download, convert, export, serve, stop."""
