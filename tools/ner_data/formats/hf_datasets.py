"""Tokens and tags as Hugging Face ``datasets`` has them: Parquet, or the folder of a split from ``save_to_disk``.

A sample row (the names of the numbers are in the file, as features)::

    {"id": "0", "tokens": ["林", "晓", "在", "云", "帆"], "ner_tags": [1, 2, 0, 3, 4]}
    names of ner_tags: O, B-name, I-name, B-company, I-company

``file:`` of a split names a ``.parquet`` or ``.arrow`` file, or a folder. Reading and writing need pyarrow.
``tokens`` and ``tags`` are the names of the columns. Tags may be strings; where they are numbers without names in the
file, ``labels`` lists these: ``labels: "O,B-name,I-name"``. BIO, BIOES, BMES and BILOU are read alike; a tag that goes
on where no mention of its label is open starts one, and is counted.

Rows without tokens and tags, as msra_ner has one at its end, are skipped and counted. ``join`` says what is between
tokens: ``none``, ``space``, or ``auto``, a space where both are Latin words, which is counted; two single letters or
digits are characters of a word. Tokens that carry their positions in words (``科0``, as in weibo_ner) are refused, as
by `bio`; ``segmentation: true`` drops these on reading. One file per split is written, with a character per token, for
``load_dataset("parquet", data_files=…)``."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import Opener, below
from ner_common.parallel import chunks
from ner_data.described import Corpus
from ner_data.formats import Format, Piece, Sample
from ner_data.formats._arrow import columns_of, data_files, metadata, missing, pyarrow, rows, tag_names
from ner_data.formats._marks import NO_MARKS, bad_mark, has_marks_behind, marked, marks_problem, without_mark
from ner_data.formats._records import NO_GOLD, Bad, chosen
from ner_data.formats._skipping import EMPTY, with_skipped
from ner_data.formats._words import SPACES, are_words
from ner_data.gold import Entity, Record
from ner_data.source import Source

ORPHAN = "tags that continue no mention (start one)"
STARTS, ENDS, LETTERS = "BSU", "ESLU", "BIMELSU"
SURVEYED = 2000  # rows that tell whether tokens carry marks
GROUP = 10_000  # rows of a Parquet file that are written at a time


@dataclass(frozen=True)
class Reader(Format):
    """See the module."""

    tokens: str = "tokens"
    tags: str = "ner_tags"
    labels: str = ""
    join: str = "auto"
    segmentation: bool = False

    title = "Hugging Face datasets: Parquet, or a folder of save_to_disk"
    files = ".parquet, folder"
    nested = False
    variants = ({}, {"segmentation": True})
    policies = (
        "Touching mentions of a label, and mentions across line breaks, are kept.",
        "A tag that goes on where no mention of its label is open starts one, and is counted.",
        "Marks of a word segmentation (科0 技1, 科B 技E) are refused; `segmentation: true` drops them on reading.",
    )

    def __post_init__(self) -> None:
        chosen("join", self.join, "auto", "none", "space")

    def pieces(self, source: Source) -> Iterator[Piece]:
        """The names of the tags, and the tokens, tags and id of each row; its number is the line.

        Raises:
            UserError: pyarrow is missing; there is no such dataset; it has no column of tokens; or the tokens carry
                the marks of a word segmentation, or none although they should.
        """
        self._check_marks(source)
        for path in data_files(source.path):
            there, about = self._columns(path)
            if len(set(there)) < len(there):
                raise UserError(f"{rooted(path)}: has two columns of the same name: {escaped(', '.join(there))}")
            columns = [name for name in (self.tokens, self.tags, "id") if name in there]
            names = tuple(self.labels.split(",")) if self.labels else tag_names(about, path, self.tags)
            file = path.name if path != source.path else ""
            numbered = enumerate(chain.from_iterable(rows(path, source, columns)), start=1)
            for (number, row), skipped in with_skipped((item, self._is_empty(item[1])) for item in numbered):
                yield Piece(number, (names, row, skipped), file)

    def _is_empty(self, row: dict[str, Any]) -> bool:
        """Whether a row has neither tokens nor tags."""
        return row[self.tokens] == [] and row.get(self.tags) in ([], None)

    def _columns(self, path: Path) -> tuple[list[str], bytes]:
        """See `columns_of`; there must be one of tokens."""
        there, about = columns_of(path)
        if self.tokens not in there:
            raise missing(path, self.tokens, "tokens", there)
        return there, about

    def _check_marks(self, source: Source) -> None:
        """Survey the first rows of the first file: are there marks of a word segmentation, as the option says?"""
        path = data_files(source.path)[0]
        self._columns(path)
        silent = replace(source, tick=lambda _: None)
        cells = [row[self.tokens] for row in islice(chain.from_iterable(rows(path, silent, [self.tokens])), SURVEYED)]
        lists = [cell if isinstance(cell, list) else [] for cell in cells]
        tokens = Counter(token for cell in lists for token in cell if isinstance(token, str))
        if self.segmentation:
            if not has_marks_behind(tokens):
                raise UserError(f"{rooted(path)}: {NO_MARKS}")
        elif found := marked(tokens):
            number, cell = next((at, cell) for at, cell in enumerate(lists, start=1) if not found.isdisjoint(cell))
            problem = marks_problem(one_line(cell, 60), "`options: {segmentation: true}`")
            raise UserError(f"{rooted(path)}:{number}: {problem}")

    def parse(self, piece: Piece, gold: bool) -> Sample:
        names, row, skipped = piece.content
        sample = self._sample(piece, names, row, gold)
        return msgspec.structs.replace(sample, skipped=(EMPTY,) * skipped) if skipped else sample

    def _sample(self, piece: Piece, names: tuple[str, ...] | None, row: dict[str, Any], gold: bool) -> Sample:
        found: list[str] = []
        try:
            tokens = _strings(row[self.tokens], self.tokens)
            if self.segmentation:
                tokens = _unmarked(tokens)
            text, starts, spaces = self._text(tokens)
            repairs = (SPACES,) * spaces
            identity = row.get("id")
            identity = identity if isinstance(identity, str | int) else None
            if not gold:
                return Sample(piece.line, text, None, repairs=repairs, identity=identity, file=piece.file)
            found = _tags(self._cell(row), names)
            if len(found) != len(tokens):
                raise Bad("tokens and tags differ", f"has {len(tokens)} tokens, but {len(found)} tags")
            entities, orphans = _entities(text, starts, tokens, found)
            repairs += (ORPHAN,) * orphans
            return Sample(piece.line, text, entities, repairs=repairs, identity=identity, file=piece.file)
        except Bad as bad:
            labels = frozenset(tag[2:] for tag in found if tag[1:2] == "-")
            return Sample(piece.line, "", None, bad.problem, labels=labels, file=piece.file)

    def _cell(self, row: dict[str, Any]) -> list[Any]:
        """The tags of a row."""
        if self.tags not in row:
            message = (
                f"there is no column {one_line(self.tags)}; name it with `options: {{tags: COLUMN}}`, or {NO_GOLD}"
            )
            raise Bad("no gold", message)
        if row[self.tags] is None:
            raise Bad("no gold", f"{one_line(self.tags)} is null; {NO_GOLD}")
        if not isinstance(row[self.tags], list):
            raise Bad("malformed tags", f"{one_line(self.tags)} must be a list, not {one_line(row[self.tags])}")
        return row[self.tags]  # type: ignore[no-any-return]

    def _text(self, tokens: list[str]) -> tuple[str, list[int], int]:
        """The text, where each token starts in it, and how many spaces were put between Latin words."""
        parts: list[str] = []
        starts, length, spaces = [], 0, 0
        before = ""
        for token in tokens:
            words = self.join == "auto" and are_words(before, token)
            spaces += words
            if before and (words or self.join == "space"):
                parts.append(" ")
                length += 1
            starts.append(length)
            parts.append(token)
            length += len(token)
            before = token
        text = "".join(parts)
        if not text.strip():
            raise Bad("no text", f"{one_line(self.tokens)} has no text")
        return text, starts, spaces

    def refusal(self, record: Record) -> tuple[str, str] | None:
        return None if record.text.strip() else ("no text", "has no text but white space")

    def write(self, records: Iterable[Record], target: Path, corpus: Corpus, write: Opener) -> None:
        library = pyarrow()
        names = ["O", *(f"{letter}-{label.id}" for label in corpus.labels for letter in "BI")]
        numbers = {name: number for number, name in enumerate(names)}
        strings, integers = library.list_(library.string()), library.list_(library.int64())
        columns = [("id", library.string()), ("tokens", strings), ("ner_tags", integers)]
        schema = library.schema(columns, metadata=metadata(names))
        with (
            write(target.with_name(f"{target.name}.parquet")) as file,
            library.parquet.ParquetWriter(below(file), schema) as table,
        ):
            for part in chunks(records, GROUP):
                table.write_batch(library.RecordBatch.from_pylist([_row(record, numbers) for record in part], schema))


def _row(record: Record, numbers: dict[str, int]) -> dict[str, Any]:
    """A row of the file: a token and a number per character; no numbers for a record without gold."""
    tags = None if record.entities is None else [0] * len(record.text)
    for found in record.entities or ():
        if tags is None or f"B-{found.label}" not in numbers:
            raise UserError(f"{escaped(record.id)}: the label {escaped(found.label)} is none of the corpus")
        inside = numbers[f"I-{found.label}"]
        tags[found.start : found.end] = [numbers[f"B-{found.label}"], *[inside] * (found.end - found.start - 1)]
    return {"id": record.id, "tokens": list(record.text), "ner_tags": tags}


def _strings(cell: Any, column: str) -> list[str]:
    """The tokens of a row."""
    if not isinstance(cell, list) or not all(isinstance(token, str) for token in cell):
        raise Bad("malformed tokens", f"{one_line(column)} must be a list of strings, not {one_line(cell)}")
    if "" in cell:
        raise Bad("empty token", f"the token {cell.index('') + 1} is empty: {one_line(cell)}")
    return cell


def _unmarked(tokens: list[str]) -> list[str]:
    """The tokens without the marks behind them."""
    found: list[str] = []
    mark = ""
    for token in tokens:
        if not (parts := without_mark(token, mark)):
            reason, message = bad_mark(one_line(mark), one_line(token))
            raise Bad(reason, f"the token {len(found) + 1} {message}")
        token, mark = parts
        found.append(token)
    return found


def _tags(cell: list[Any], names: tuple[str, ...] | None) -> list[str]:
    """The names of the tags of a row."""
    tags = []
    for tag in cell:
        if isinstance(tag, int) and names is None:
            message = f"the tags are numbers ({one_line(cell, 40)}) without names; list them in their order: "
            raise Bad("numbers for tags", f'{message}`options: {{labels: "O,B-name,I-name"}}`')
        if isinstance(tag, int) and not isinstance(tag, bool) and names is not None:
            if not 0 <= tag < len(names):
                raise Bad("unknown tag", f"the tag {tag} has no name; there are {len(names)}, from 0")
            tag = names[tag]
        if not isinstance(tag, str) or not (tag == "O" or (tag[:1] in LETTERS and tag[1:2] == "-" and len(tag) > 2)):
            raise Bad("unknown tag", f"the tag {one_line(tag)} is neither O nor B-label, I-label and the like")
        tags.append(tag)
    return tags


def _entities(text: str, starts: list[int], tokens: list[str], tags: list[str]) -> tuple[tuple[Entity, ...], int]:
    """The mentions, and how many tags that continue none started one: BIO, BIOES, BMES and BILOU alike."""
    spans: list[tuple[int, int, str]] = []
    open_label, orphans = "", 0
    for start, token, tag in zip(starts, tokens, tags, strict=True):
        if tag == "O":
            open_label = ""
            continue
        label, end = tag[2:], start + len(token)
        if tag[0] not in STARTS and label == open_label:
            spans[-1] = (spans[-1][0], end, label)
        else:
            orphans += tag[0] not in STARTS
            spans.append((start, end, label))
        open_label = "" if tag[0] in ENDS else label
    return tuple(Entity(start, end, label, text[start:end]) for start, end, label in spans), orphans
