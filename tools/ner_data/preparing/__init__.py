"""Corpora made from corpora: split, merged, sampled, with negatives, augmented. One module per command."""
