"""Corpus formats, one module each: a new format is a new file, named by ``format:`` in a corpus description.

A module opens with a literal sample record and has ``read(path, gold)``, which yields a `Sample` for each sentence of
a raw file; see `bio`.
"""

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_data.gold import Entity


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence of a raw file.

    Attributes:
        line: its (first) line in the file, from 1.
        text: the sentence.
        entities: its entities with half-open character offsets; None if the file has no gold.
        problem: ``(reason, message)`` if the sentence cannot be used: a short name for the tally, and what is wrong.
        repairs: names of the documented policies that were applied to read it, one per occurrence.
        labels: if the sentence cannot be used: the labels that it names, as far as they can be read.
    """

    line: int
    text: str
    entities: tuple[Entity, ...] | None
    problem: tuple[str, str] | None = None
    repairs: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()


def format_names() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_format(name: str) -> Callable[[Path, bool], Iterator[Sample]]:
    """The reader of a format: ``read(path, gold)``; with ``gold`` false it does not look for entities.

    Raises:
        UserError: the format's module has no reader.
    """
    module = import_module(f"{__name__}.{name}")
    reader: Callable[[Path, bool], Iterator[Sample]] | None = getattr(module, "read", None)
    if reader is None:
        raise UserError(f"{rooted(Path(str(module.__file__)))}: a format needs read(path, gold); see {__name__}.bio")
    return reader
