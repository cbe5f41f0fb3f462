"""What every program here uses: errors, files, command lines, fingerprints. Knows nothing of entities."""
