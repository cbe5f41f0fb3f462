"""A cleaned copy of a corpus: what can be corrected without a decision, and a log line for each change."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import write_together
from ner_data.checking.mentions import core
from ner_data.corpus import CORPORA, RAW, load_corpus
from ner_data.derived import check_new, write_corpus
from ner_data.described import Corpus
from ner_data.gold import Entity, Record, read_gold

LOG = "changes.log"


@dataclass(slots=True)
class Fixed:
    """What became of the records of each split, and every change."""

    corpus: str
    name: str
    read: Counter[str] = field(default_factory=Counter)
    kept: dict[str, int] = field(default_factory=dict)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def change(self, split: str, record: Record, what: str, detail: str) -> None:
        """Note a change."""
        self.changes[split, what] += 1
        self.log.append(f"{split}\t{escaped(record.source or '-', 200)}\t{escaped(record.id, 200)}\t{what}: {detail}")

    def lines(self) -> Iterator[str]:
        """What the terminal shows."""
        for split, kept in self.kept.items():
            changes = [f"; {what}: {count:,}" for (of, what), count in self.changes.items() if of == split]
            path = rooted(RAW / self.name / f"{split}.jsonl")
            yield f"{path}: read {self.read[split]:,}, kept {kept:,}{''.join(changes)}"
        yield f"{rooted(RAW / self.name / LOG)}: {len(self.log):,} changes"
        yield f"{rooted(CORPORA / f'{self.name}.yaml')}: run `make data CORPUS={self.name}`"


def fix(corpus: str, name: str) -> Fixed:
    """Write a cleaned copy of a corpus as the corpus ``name``; the corpus itself stays as it is.

    In all splits, mentions lose white space and punctuation at their ends (see `ner_data.checking.mentions.core`), and
    go if nothing remains, or if they are there twice. Train then loses records with a text that dev or test has, and
    records whose text and mentions an earlier one has. Copies with other mentions stay: which of them is right is no
    question for a program.

    Raises:
        UserError: no such corpus, a gold file is missing or damaged, the name is taken, or train would be empty.
    """
    check_new(name)
    described = load_corpus(corpus)
    fixed = Fixed(corpus, name)
    held_out = _held_out(described)
    splits = {split: list(_cleaned(described, split, held_out, fixed)) for split in described.splits}
    if not splits.get("train", True):
        raise UserError(f"{corpus}: dev and test have every text of train; nothing would remain to train on")
    with write_together() as write:
        fixed.kept = write_corpus(name, described, splits, title=f"{described.title}, cleaned", write=write)
        with write(RAW / name / LOG) as file:
            file.writelines(f"{line}\n" for line in fixed.log)
    return fixed


def _held_out(corpus: Corpus) -> dict[str, tuple[str, str]]:
    """The texts of dev and test, with the split and source of the first record that has each."""
    found: dict[str, tuple[str, str]] = {}
    for split in corpus.splits:
        if split != "train":
            for record in read_gold(corpus.gold_file(split)):
                found.setdefault(record.text, (split, record.source or record.id))
    return found


def _cleaned(corpus: Corpus, split: str, held_out: dict[str, tuple[str, str]], fixed: Fixed) -> Iterator[Record]:
    seen: dict[tuple[str, tuple[Entity, ...] | None], str] = {}
    for record in read_gold(corpus.gold_file(split)):
        fixed.read[split] += 1
        if split == "train" and record.text in held_out:
            other, source = held_out[record.text]
            fixed.change(split, record, f"removed, text also in {other}", source)
            continue
        trimmed = _trimmed(record, split, fixed)
        if split == "train":
            key = trimmed.text, trimmed.entities
            if key in seen:
                fixed.change(split, record, "removed, copy", f"of {seen[key]}")
                continue
            seen[key] = record.source or record.id
        yield trimmed


def _trimmed(record: Record, split: str, fixed: Fixed) -> Record:
    """A record whose mentions have no odd ends."""
    if record.entities is None:
        return record
    kept: dict[Entity, None] = {}
    for entity in record.entities:
        start, end = core(entity.text)
        shown = f"{escaped(entity.label)} [{entity.start}, {entity.end}) {one_line(entity.text)}"
        if entity in kept:
            fixed.change(split, record, "mention removed", f"{shown} is there twice")
            continue
        if (start, end) == (0, len(entity.text)):
            kept[entity] = None
            continue
        if start == end:
            fixed.change(split, record, "mention removed", f"{shown} is nothing but punctuation or space")
            continue
        text = entity.text[start:end]
        new = Entity(entity.start + start, entity.start + end, entity.label, text)
        if new in kept or new in record.entities:
            fixed.change(split, record, "mention removed", f"{shown}, since {one_line(text)} is a mention too")
            continue
        kept[new] = None
        fixed.change(split, record, "mention trimmed", f"{shown} is now [{new.start}, {new.end}) {one_line(text)}")
    return Record(record.id, record.text, tuple(kept), record.source)
