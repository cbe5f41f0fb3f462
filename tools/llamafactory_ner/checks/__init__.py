"""What cannot work, refused in one line before a model loads. All functions return every problem they find."""
