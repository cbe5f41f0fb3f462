"""Corpus formats, one module each: a new format is a new file, named by ``format:`` in a corpus description.

A module opens with a literal sample record and has a class ``Reader``, a frozen dataclass that derives from `Format`;
its fields are the format's options. Modules whose names start with ``_`` are what several formats share.
"""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import Opener
from ner_data.described import Corpus
from ner_data.gold import Entity, Record
from ner_data.source import Source

# How sure a model is of its mentions, from 0 to 1, by the record's id; records or mentions may be missing.
Scores = Mapping[str, Mapping[Entity, float]]
TWICE = "mentions that are there twice (kept once)"
ONCE = "A mention that is there twice, with the same place and label, is kept once, and counted."


class Piece(NamedTuple):
    """What a reader makes one sample of: the (first) line in the file, from 1, and its content.

    ``file`` is the file's name within the source, for formats that have a folder of files.
    """

    line: int
    content: Any
    file: str = ""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One sentence, or document, of a raw file.

    Attributes:
        line: its (first) line in the file, from 1.
        text: the sentence.
        entities: its entities with half-open character offsets; None if the file has no gold. One that is given twice
            (a region drawn twice, say) is kept once, and counted in ``repairs``.
        problem: ``(reason, message)`` if the sentence cannot be used: a short name for the tally, and what is wrong.
        repairs: names of the documented policies that were applied to read it, one per occurrence.
        labels: if the sentence cannot be used: the labels that it names, as far as they can be read.
        skipped: names of what was left out of the file before it or, if it is the last one, behind it, one per
            occurrence; that counts whether or not the sentence can be used.
        identity: its id in the raw file, which must be there only once.
        source: where it came from, if the file says so; otherwise `convert` says file and line.
        file: the file's name within the source, for formats that have a folder of files.
    """

    line: int
    text: str
    entities: tuple[Entity, ...] | None
    problem: tuple[str, str] | None = None
    repairs: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    identity: str | int | None = None
    source: str = ""
    file: str = ""
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        found = self.entities
        if found and len(found) > 1 and len(kept := dict.fromkeys(found)) < len(found):
            msgspec.structs.force_setattr(self, "entities", tuple(kept))
            msgspec.structs.force_setattr(self, "repairs", (*self.repairs, *[TWICE] * (len(found) - len(kept))))


class Format(ABC):
    """A format; subclasses are frozen dataclasses, and their fields (text, numbers, true or false) are its options.

    Attributes:
        title: what it is and who writes it, in a few words, for the table in the README.
        files: what its files are called, for the same table: ``.jsonl``.
        nested: whether it can hold mentions that share characters.
        unlabelled: whether files without labels look different from files in another format.
        variants: the options that ``ner-data init`` tries.
        policies: what it does with what another format would hold, a sentence each, for the same table.
    """

    title: ClassVar[str]
    files: ClassVar[str]
    nested: ClassVar[bool]
    unlabelled: ClassVar[bool] = True
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    policies: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def pieces(self, source: Source) -> Iterator[Piece]:
        """Cut a file into what each sample is made of: cheap, and without holding a file that has lines as a whole.

        Raises:
            UserError: the file as a whole cannot be read in this format.
        """

    @abstractmethod
    def parse(self, piece: Piece, gold: bool) -> Sample:
        """Read one piece; with ``gold`` false do not look for entities. Whatever the piece holds, it does not raise.

        It depends on nothing but the piece, so that pieces can be read by several processes.
        """

    def read(self, source: Source, gold: bool = True) -> Iterator[Sample]:
        """The samples of a file, in order; raises what `pieces` raises."""
        for piece in self.pieces(source):
            yield self.parse(piece, gold)

    def refusal(self, record: Record) -> tuple[str, str] | None:
        """Why `write` cannot hold a record, apart from nesting: (reason, message); None if it can."""
        return None

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        """Write records that it can hold.

        Args:
            records: they have no overlapping mentions if the format is not ``nested``, and no `refusal`. Those without
                gold get no entities.
            target: the path without suffix; the format adds its own, or writes several files or a folder.
            corpus: the description of their corpus, for formats that write instructions.
            write: opens each file; it replaces an older one only if everything succeeds.
        """
        raise NotImplementedError

    def suggest(self, records: Iterable[Record], scores: Scores, target: Path, corpus: Corpus, write: Opener) -> None:
        """Write what a model found, for people to correct: like `write`, with scores where the format has a place."""
        self.write(records, target, corpus, write)


def can_write(format: type[Format]) -> bool:
    """Whether a format writes too."""
    return format.write is not Format.write


def format_names() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def format_class(name: str) -> type[Format]:
    """The class of a format.

    Raises:
        UserError: the format's module has no ``Reader``.
    """
    module = import_module(f"{__name__}.{name}")
    found = getattr(module, "Reader", None)
    if not (isinstance(found, type) and issubclass(found, Format)):
        path = rooted(Path(str(module.__file__)))
        raise UserError(f"{path}: a format needs a class Reader that derives from Format; see {__name__}.bio")
    return found


def load_format(name: str, options: Mapping[str, Any] | None = None) -> Format:
    """A format with its options, which `option_problems` has checked."""
    return format_class(name)(**(options or {}))


def option_fields(name: str) -> "tuple[Field[Any], ...]":
    """The options of a format."""
    return fields(format_class(name))  # type: ignore[arg-type]


def option_problems(name: str, options: Mapping[Any, Any]) -> Iterator[str]:
    """What is wrong with the options of a format, in words."""
    known = {field.name: field for field in option_fields(name)}
    for key, value in options.items():
        if key not in known:
            yield f"options: {name} has no option {one_line(key)}; known: {', '.join(known) or 'none'}"
        elif type(value) is not known[key].type:
            wanted = {str: "text (quote it)", int: "a whole number", bool: "true or false"}[known[key].type]  # type: ignore[index]
            yield f"options: {key} must be {wanted}, not {one_line(value)}"
