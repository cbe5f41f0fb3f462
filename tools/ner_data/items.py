"""The items of alpaca files: gold records with the instruction and the answer that a model should give."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ner_data.fewer_labels import FewerLabels
from ner_data.gold import Record, records_of
from ner_data.nesting import overlap
from ner_data.prompt import PromptSpec, only
from ner_data.sentences import has_several

_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class Part:
    """The alpaca items of some gold records, and what is counted on the way.

    Attributes:
        items: those of the records that can be trained on, as JSON.
        read: how many records there are.
        able: how many of them have gold.
        answer: bytes of the longest answer.
        text: characters of the longest text.
        several: how many texts are several sentences.
        unwritten: how many entities the answer form cannot write.
        fewer: how many records ask for some of the labels only.
        labels: all labels.
        ids: a hash of each record's id.
    """

    items: list[bytes] = field(default_factory=list)
    read: int = 0
    able: int = 0
    answer: int = 0
    text: int = 0
    several: int = 0
    unwritten: int = 0
    fewer: int = 0
    labels: set[str] = field(default_factory=set)
    ids: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, other: "Part") -> None:
        """Add the counts of the records that follow."""
        self.read += other.read
        self.able += other.able
        self.answer = max(self.answer, other.answer)
        self.text = max(self.text, other.text)
        self.several += other.several
        self.unwritten += other.unwritten
        self.fewer += other.fewer
        self.labels |= other.labels
        self.ids.extend(other.ids)


def part_of(
    spec: PromptSpec, fewer: FewerLabels, shown: frozenset[str], path: Path, piece: tuple[int, int]
) -> tuple[int, Part]:
    """The size of a piece of a gold file (see `ner_data.gold.pieces`), and the items of its records."""
    part = Part()
    for record in records_of(path, piece):
        part.read += 1
        part.ids.append(hash(record.id))
        if record.entities is None:
            continue
        part.able += 1
        part.labels.update(entity.label for entity in record.entities)
        if record.text in shown:
            continue
        answer = spec.render(record)
        part.answer = max(part.answer, len(answer.encode()))
        part.text = max(part.text, len(record.text))
        part.several += has_several(record.text)
        if overlap(record.entities):  # otherwise every form writes all of them
            part.unwritten += unwritten(spec, [record])
        asked = spec
        if other := fewer.spec_for(record):
            asked, record = other, only(record, other.labels)
            answer = asked.render(record)
            part.fewer += 1
        part.items.append(_ENCODER.encode(item(asked, record, answer)))
    return piece[1], part


def item(spec: PromptSpec, record: Record, answer: str) -> dict[str, str]:
    """One alpaca item; LLaMA-Factory joins instruction, newline and input, as `PromptSpec.user_text` does."""
    return {
        "system": spec.system,
        "instruction": spec.instruction,
        "input": spec.input(record.text),
        "output": answer,
        "id": record.id,
    }


def unwritten(spec: PromptSpec, records: Sequence[Record]) -> int:
    """How many entities the answers that a model should give leave out, such as overlapping ones in `inline`."""
    return sum(len(record.gold) - len(spec.parse(spec.render(record), record.text).mentions) for record in records)
