"""From stored answers to figures: a loaded run, the protocols, intervals, comparison. Knows nothing about servers."""
