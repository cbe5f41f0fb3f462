"""What ``ner-eval extract --output FILE`` wrote (`ner_eval.runs.output_file`), as records with their scores."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from msgspec import Struct

from ner_common.errors import UserError, rooted
from ner_common.files import json_lines, read_json
from ner_data.gold import Entity, Record
from ner_eval.runs.output_file import Asked, manifest_of

REMEDY = "name a file that `ner-eval extract --output` wrote, with its manifest"


class _Found(Struct, frozen=True):
    start: int
    end: int
    label: str
    text: str
    score: float | None = None


class _Line(Struct, frozen=True):
    id: Any
    text: str
    entities: list[_Found] | None
    certainty: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text with what was found in it.

    Attributes:
        record: its entities are None if the server refused it.
        scores: of the entities, as far as they have any.
        certainty: see `ner_eval.confidence.tokens.certainty`; -inf if it is not known.
    """

    record: Record
    scores: dict[Entity, float] = field(default_factory=dict)
    certainty: float = -inf


def read_extracted(path: Path) -> tuple[Asked, Iterator[Text]]:
    """Read the manifest, and the texts one by one; an id that occurs again gets the number of its line.

    Raises:
        UserError: there is no manifest, or a line is not one of ours.
    """
    return read_json(manifest_of(path), REMEDY, Asked), _texts(path)


def _texts(path: Path) -> Iterator[Text]:
    seen: set[str] = set()
    for number, line in json_lines(path, REMEDY, _Line):
        where, id = f"{rooted(path)}:{number}", str(line.id)
        id = f"{id} ({number})" if id in seen else id
        seen.add(id)
        found = None
        if line.entities is not None:
            found = {Entity(one.start, one.end, one.label, one.text): one.score for one in line.entities}
        try:
            record = Record(id, line.text, None if found is None else tuple(sorted(found)), where)
        except ValueError as error:
            raise UserError(f"{where}: {error}; was it edited? extract again into another --output") from None
        scores = {entity: score for entity, score in (found or {}).items() if score is not None}
        yield Text(record, scores, -inf if line.certainty is None else line.certainty)
