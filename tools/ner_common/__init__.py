"""Shared by all programs: errors, files, command lines, fingerprints. Knows nothing about entities."""
