"""CLUENER JSON lines, as published by CLUEbenchmark/CLUENER2020.

A sample line (end offsets are inclusive; a label may have several surfaces, a surface several places)::

    {"text": "林晓在云帆科技任经理", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}

A line of a split without gold has no ``label``, and usually an ``id``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ner_common.decoding import convert, decode_json, has_lone_surrogate
from ner_common.errors import one_line
from ner_common.files import read_text
from ner_data.formats import Sample
from ner_data.gold import Entity

Labels = dict[str, dict[str, list[tuple[int, int]]]]
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"(\s*+:)?', re.DOTALL)


def read(path: Path, gold: bool) -> Iterator[Sample]:
    """Yield the sentences of a file; with ``gold`` false, labels are neither expected nor read.

    Raises:
        UserError: the file is missing, empty or not UTF-8.
    """
    ids: dict[Any, int] = {}
    # Not str.splitlines(): that splits at U+2028 and other characters that a JSON string may contain.
    for number, line in enumerate(read_text(path, "name the folder that has it with --raw DIR").split("\n"), start=1):
        if not line.strip():
            continue
        sample = _sample(number, line, gold)
        if isinstance(sample, Sample):
            yield sample
            continue
        text, entities, identity = sample
        if identity is not None and ids.setdefault(identity, number) != number:
            problem = ("duplicate id", f"the id {one_line(identity)} is already used in line {ids[identity]}")
            yield Sample(number, text, entities, problem)
        else:
            yield Sample(number, text, entities)


def _sample(number: int, line: str, gold: bool) -> Sample | tuple[str, tuple[Entity, ...] | None, str | int | None]:
    """Read one line: (text, entities, id), or the sample with its problem."""
    try:
        value = decode_json(line)
    except ValueError:
        return Sample(number, "", None, ("malformed JSON", f"not JSON: {one_line(line.strip(), 60)}"))
    if has_lone_surrogate(line.encode()):
        message = "a \\ud800 to \\udfff without its other half is no character"
        return Sample(number, "", None, ("lone surrogate", message), labels=_names(value))
    if sum(map(bool, _STRING.findall(line))) != _keys(value):
        return Sample(number, "", None, ("duplicate key", "a key is there more than once"), labels=_names(value))
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        return Sample(number, "", None, ("no text", 'the line needs a non-empty string "text"'), labels=_names(value))
    text, identity = value["text"], value.get("id")
    if not isinstance(identity, str | int | None) or isinstance(identity, bool):
        message = f"the id {one_line(identity)} is neither a string nor an integer"
        return Sample(number, text, None, ("malformed id", message), labels=_names(value))
    if not gold:
        return text, None, identity
    try:
        labels = convert(value.get("label"), Labels)
    except ValueError:
        form = 'needs "label": {label: {surface: [[start, end], ...]}}; set `gold: false` for a split without labels'
        return Sample(number, text, None, ("malformed label", form), labels=_names(value))
    try:
        return text, tuple(sorted(_entities(text, labels))), identity
    except ValueError as error:
        reason, message = error.args
        return Sample(number, text, None, (reason, message), labels=_names(value))


def _keys(value: Any) -> int:
    """How many keys all objects in a decoded value have."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _names(value: Any) -> frozenset[str]:
    """The labels of a line that cannot be used."""
    labels = value.get("label") if isinstance(value, dict) else None
    return frozenset(label for label in labels if labels[label]) if isinstance(labels, dict) else frozenset()


def _entities(text: str, labels: Labels) -> Iterator[Entity]:
    for label, surfaces in labels.items():
        for surface, places in surfaces.items():
            for start, end in places:
                where = f"{label} {one_line(surface)} at [{start}, {end}]"
                if start > end:
                    raise ValueError("reversed offsets", f"{where}: the start is after the end")
                if start < 0 or end >= len(text):
                    raise ValueError("offsets out of range", f"{where}: the text has {len(text)} characters")
                if text[start : end + 1] != surface:
                    there = one_line(text[start : end + 1])
                    raise ValueError(
                        "offsets do not match", f"{where}, but the text has {there} there (ends are inclusive)"
                    )
                yield Entity(start, end + 1, label, surface)
