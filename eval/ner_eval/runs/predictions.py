"""The answers of a run, ``predictions.jsonl``: one `Prediction` per line, in the order in which they arrived, and in
gold order once the run is complete. A line::

    {"id": "demo-test-1", "answer": "[{\"text\":\"林晓\",\"label\":\"name\"}]", "finish_reason": "stop",
     "prompt_tokens": 131, "completion_tokens": 12, "seconds": 0.41}

The process may be killed at any moment: a line that a crash cut off is removed when the run continues, and its answer
is requested again.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import json_value, write_atomically
from ner_eval.runs.manifest import MANIFEST, Manifest, check_same, write_manifest

PREDICTIONS = "predictions.jsonl"
_UNICODE = json.JSONEncoder(ensure_ascii=False)
_STRING, _WHOLE, _NUMBER = (str,), (int,), (int, float)
_WORDS = {_STRING: "a string", _WHOLE: "a whole number", _NUMBER: "a number"}
_TYPES: dict[str, tuple[type, ...]] = {
    "id": _STRING,
    "answer": _STRING,
    "finish_reason": _STRING,
    "prompt_tokens": _WHOLE,
    "completion_tokens": _WHOLE,
    "seconds": _NUMBER,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stored answer.

    ``finish_reason`` is the server's (``length`` = cut off by max_tokens); ``seconds`` of wall time.
    """

    id: str
    answer: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def as_line(self) -> bytes:
        """One line of ``predictions.jsonl``, UTF-8; lone surrogates, which UTF-8 cannot hold, stay escaped."""
        # Not asdict(), which copies deeply, and no new encoder a line: this is done for every answer as it arrives.
        value = {name: getattr(self, name) for name in self.__slots__}
        try:
            return (_UNICODE.encode(value) + "\n").encode()
        except UnicodeEncodeError:
            return (json.dumps(value) + "\n").encode()

    @classmethod
    def from_json(cls, value: Any) -> "Prediction":
        """Read one line's value.

        Raises:
            ValueError: a field is missing, has another type, or is unknown.
        """
        if not isinstance(value, dict) or value.keys() != _TYPES.keys():
            raise ValueError(f"is not an object with {', '.join(_TYPES)}")
        for key, field in value.items():
            if type(field) not in _TYPES[key]:  # a bool is an int, too, but not this type
                raise ValueError(f"{key} must be {_WORDS[_TYPES[key]]}")
        return cls(**value)


def read_predictions(run: Path) -> list[Prediction]:
    """Read the stored answers of a run's folder, in the order of the file; none where nothing is stored yet.

    A last line without its newline that is no whole prediction was cut off by a crash and is passed over: it was never
    counted, and the next `ner-eval predict` asks for it again.

    Raises:
        UserError: any other line is no prediction, or an id stands twice.
    """
    path = run / PREDICTIONS
    if not path.exists():
        return []
    whole, _ = split_tail(path.read_bytes())
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    try:
        text = whole.decode()  # here and not by json, which would guess the encoding of every line
    except UnicodeDecodeError as error:
        number = whole.count(b"\n", 0, error.start) + 1
        problem = "no prediction (not UTF-8); remove the line and predict again"
        raise UserError(f"{rooted(path)}:{number}: {problem}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prediction = Prediction.from_json(json_value(line))
        except (ValueError, RecursionError) as error:
            what = one_line(str(error), 120)
            raise UserError(
                f"{rooted(path)}:{number}: no prediction ({what}); remove the line and predict again"
            ) from None
        if prediction.id in seen:
            first = seen[prediction.id]
            raise UserError(
                f"{rooted(path)}:{number}: the id {prediction.id} stands in line {first} too; remove one of the lines"
            )
        seen[prediction.id] = number
        predictions.append(prediction)
    return predictions


def split_tail(data: bytes) -> tuple[bytes, bytes]:
    """Split the bytes of a predictions file into its whole lines and the part that a crash cut off (mostly empty).

    A last line that lacks nothing but its newline is whole.
    """
    end = data.rfind(b"\n") + 1
    tail = data[end:]
    try:
        Prediction.from_json(json.loads(tail))
    except (ValueError, RecursionError):
        return data[:end], tail
    return data, b""


def begin(run: Path, manifest: Manifest, ids: Sequence[str]) -> set[str]:
    """Start or continue a run in its locked folder; the ids that have an answer already.

    Raises:
        UserError: the folder holds a run that asked something else, answers without a manifest, or unknown ids.
    """
    path = run / PREDICTIONS
    if (run / MANIFEST).exists():
        check_same(run, manifest)
    elif path.exists():
        raise UserError(
            f"{rooted(path)}: has no {MANIFEST} beside it, so nobody knows what was asked; use another --run"
        )
    else:
        write_manifest(run, manifest)
    if path.exists():
        _repair(path)
    return stored_ids(run, ids)


def stored_ids(run: Path, ids: Sequence[str]) -> set[str]:
    """The ids that have an answer.

    Raises:
        UserError: one of them is not in ``ids``, or the file is broken.
    """
    stored = {prediction.id for prediction in read_predictions(run)}
    if unknown := stored.difference(ids):
        first = min(unknown)
        raise UserError(
            f"{rooted(run / PREDICTIONS)}: {len(unknown)} ids are not of this corpus ({first}); use another --run"
        )
    return stored


def _repair(path: Path) -> None:
    """Cut away a last line that is no whole answer; give one that lacks only its newline the newline."""
    data = path.read_bytes()
    whole, tail = split_tail(data)
    with path.open("r+b") as file:
        if tail:
            file.truncate(len(whole))
        elif whole and not whole.endswith(b"\n"):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def append(run: Path, predictions: Iterable[Prediction]) -> None:
    """Add answers to a run's file, and have them on the disk."""
    with (run / PREDICTIONS).open("ab") as file:
        for prediction in predictions:
            file.write(prediction.as_line())
        file.flush()
        os.fsync(file.fileno())


def finish(run: Path, ids: Sequence[str]) -> list[Prediction]:
    """Put a complete run in the order of ``ids``; the predictions in that order."""
    path = run / PREDICTIONS
    by_id = {prediction.id: prediction for prediction in read_predictions(run)}
    ordered = [by_id[id] for id in ids]
    data = b"".join(prediction.as_line() for prediction in ordered)
    if path.read_bytes() != data:
        with write_atomically(path) as file:
            file.write(data.decode())
    return ordered
