"""The checkpoints of a training: what they are, which records they never saw, and putting one in its place."""
