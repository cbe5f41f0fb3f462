"""How far an answer can be trusted: scores from token log-probabilities, their calibration, thresholds, curves."""
