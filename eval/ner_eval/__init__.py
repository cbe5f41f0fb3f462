"""Ask a served model for entities, score its answers, show its errors.

The public names: each command of `ner-eval` as a function (`predict`, `extract`, `score`, `export`, `select`,
`calibrate`, `compare`, `report`, `publish`), `Recognizer`: texts in, entities out (or `TextsRefused`), and `Wanted`:
which of them are kept by their scores.
"""

from ner_eval.calibrate import calibrate
from ner_eval.compare import compare
from ner_eval.confidence.trust import Wanted
from ner_eval.export import export
from ner_eval.extract import extract
from ner_eval.inference.client import Connection
from ner_eval.inference.recognizer import Recognizer, TextsRefused
from ner_eval.predict import predict
from ner_eval.publish import publish
from ner_eval.report import report
from ner_eval.score import score
from ner_eval.select import select

__all__ = [
    "Connection",
    "Recognizer",
    "TextsRefused",
    "Wanted",
    "calibrate",
    "compare",
    "export",
    "extract",
    "predict",
    "publish",
    "report",
    "score",
    "select",
]
