"""Ask a served model for entities, score its answers, show where it errs."""

from ner_eval.recognizer import Recognizer

__all__ = ["Recognizer"]
