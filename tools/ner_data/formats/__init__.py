"""One module per source format; each opens with a literal sample record."""
