"""CLUENER JSON lines, as published by CLUEbenchmark/CLUENER2020.

A sample line (end offsets are inclusive; a label may have several surfaces, a surface several places)::

    {"text": "林晓在云帆科技任经理", "label": {"name": {"林晓": [[0, 1]]}, "company": {"云帆科技": [[3, 6]]}}}

A line of a split without gold has no ``label``, and usually an ``id``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ner_common.errors import one_line
from ner_common.files import read_text
from ner_data.formats import Sample
from ner_data.gold import Entity


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
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Sample(number, "", None, ("malformed JSON", f"not JSON: {one_line(line.strip(), 60)}"))
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        return Sample(number, "", None, ("no text", 'the line needs a non-empty string "text"'))
    text, identity = value["text"], value.get("id")
    if not isinstance(identity, str | int | None):
        message = f"the id {one_line(identity)} is neither a string nor an integer"
        return Sample(number, text, None, ("malformed id", message))
    if not gold:
        return text, None, identity
    try:
        found = sorted(_entities(text, value["label"]))
    except (KeyError, TypeError, AttributeError):
        form = 'needs "label": {label: {surface: [[start, end], ...]}}; set `gold: false` for a split without labels'
        return Sample(number, text, None, ("malformed label", form))
    except ValueError as error:
        reason, message = error.args
        return Sample(number, text, None, (reason, message))
    return text, tuple(found), identity


def _entities(text: str, labels: dict[str, dict[str, list[list[int]]]]) -> Iterator[Entity]:
    for label, surfaces in labels.items():
        for surface, places in surfaces.items():
            for start, end in places:
                if not (type(start) is int and type(end) is int):
                    raise TypeError
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
