"""Shared by all programs: errors, files, command lines, fingerprints. Knows nothing about entities."""

__version__ = "0.2.0"  # of everything in this repository; CHANGELOG.md says what is new
