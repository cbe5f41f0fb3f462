"""What every format module yields: `Sample`, one sentence of a raw file."""

from dataclasses import dataclass

from ner_data.gold import Entity


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence as read.

    Attributes:
        line: its (first) line in the file, from 1.
        text: the sentence.
        entities: its entities with half-open character offsets, or None where the file has no gold.
        problem: ``(reason, message)`` if the sentence cannot be used: a short name to count by, and what is wrong.
        repairs: names of the documented policies that were applied to read it, one an occurrence.
    """

    line: int
    text: str
    entities: tuple[Entity, ...] | None
    problem: tuple[str, str] | None = None
    repairs: tuple[str, ...] = ()
