"""Ask a served model for entities, score its answers, show where it errs."""
