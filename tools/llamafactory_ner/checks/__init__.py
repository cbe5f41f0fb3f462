"""Checks of arguments, data sets, adapters and base models before a model loads; each returns all problems found."""
