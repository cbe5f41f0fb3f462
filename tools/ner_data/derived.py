"""Corpora that are made from others: their gold records as raw files, with a description like any other.

Each command that makes one prints what `Prepared` holds.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from ner_common.errors import UserError, counted, escaped, rooted
from ner_common.files import Opener, check_free, locked, write_together
from ner_data.convert import BUSY
from ner_data.corpus import CORPORA, RAW, check_labels, check_name, write_description
from ner_data.described import Corpus, Label, Split
from ner_data.gold import Record, read_gold, write_gold


@dataclass(slots=True)
class Prepared:
    """A new corpus.

    Attributes:
        corpus: its name.
        read: how many records were read.
        rejected: how many of them are not in it, by reason.
        added: how many records are new, by kind.
        left_out: how many candidates for these were not taken, by reason.
        written: how many records each of its splits has.
        notes: what else its maker should know, a line each.
    """

    corpus: str
    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    written: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self) -> None:
        """Print what became of the records, and the next command."""
        kept = self.read - self.rejected.total()
        print(f"read {self.read}, kept {kept}, rejected {self.rejected.total()}{_counts(self.rejected)}")
        if self.added or self.left_out:
            left_out = f"left out {self.left_out.total()}{_counts(self.left_out)}"
            print(f"added {self.added.total()}{_counts(self.added)}, {left_out}")
        for split, count in self.written.items():
            print(f"{rooted(RAW / self.corpus / split)}.jsonl: {count} records")
        for note in self.notes:
            print(f"note: {note}")
        print(f"next: make data CORPUS={self.corpus}")


def _counts(counts: Counter[str]) -> str:
    return f" ({counted(counts)})" if counts else ""


def read_splits(corpus: Corpus) -> dict[str, list[Record]]:
    """The gold records of all splits, written by one conversion.

    Raises:
        UserError: there are none yet, or they have labels that the corpus lacks.
    """
    folder = corpus.gold_file("train").parent
    with locked(folder, BUSY, wait=True) if folder.is_dir() else nullcontext():
        gold = {split: list(read_gold(corpus.gold_file(split))) for split in corpus.splits}
    for split, records in gold.items():
        check_labels(corpus, split, {entity.label for record in records for entity in record.entities or ()})
    return gold


def unique_ids(records: Iterable[Record]) -> Iterator[Record]:
    """The records, with ``-2``, ``-3``, … behind an id that an earlier one has."""
    seen: set[str] = set()
    for record in records:
        identity, number = record.id, 1
        while identity in seen:
            number += 1
            identity = f"{record.id}-{number}"
        seen.add(identity)
        yield record if identity == record.id else Record(identity, record.text, record.entities, record.source)


def add_names(parser: argparse.ArgumentParser) -> None:
    """The corpus that a command reads, and the one that it writes."""
    parser.add_argument("corpus", help="a name in data/corpora, after `make data`")
    parser.add_argument("new", help="name of the new corpus")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn, is drawn by it (default: %(default)s)")


def check_new(name: str) -> None:
    """Refuse a name that `write_corpus` will refuse, before the work.

    Raises:
        UserError: the name cannot be a file's, or there is such a corpus.
    """
    check_name(name)
    check_free(CORPORA / f"{name}.yaml")
    check_free(RAW / name)


def write_corpus(
    name: str,
    base: Corpus,
    splits: Mapping[str, Iterable[Record]],
    *,
    title: str,
    labels: Sequence[Label] = (),
    write: Opener | None = None,
) -> dict[str, int]:
    """Write ``data/raw/NAME/<split>.jsonl`` (format gold) and ``data/corpora/NAME.yaml``, all or nothing.

    The records keep their ids and sources, so that each can be traced to the corpus it came from.
    `ner-data convert NAME` and `ner-data alpaca NAME` (`make data CORPUS=NAME`) do the rest.

    Args:
        name: the new corpus.
        base: what it was made from; licence, source and labels are taken over.
        splits: its records; a split of which no record has gold becomes one without gold.
        title: what it is.
        labels: its labels, if they are not those of ``base``.
        write: opens its files, if several corpora are written together.

    Returns:
        How many records each split got.

    Raises:
        UserError: the name cannot be a file's, there is such a corpus, or a split has no record, or gold without any
            mention: `ner-data convert` would refuse it.
    """
    check_new(name)
    counts: dict[str, int] = {}
    described: dict[str, Split] = {}
    with nullcontext(write) if write else write_together() as opener:
        for split, records in splits.items():
            gold = _Gold(records)
            counts[split] = write_gold(RAW / name / f"{split}.jsonl", gold, opener)
            if not gold.mentioned and (gold.found or not counts[split]):
                lacks = "mention" if counts[split] else "record"
                raise UserError(
                    f"{escaped(name)}: its {split} split would have no {lacks}; ask for more or other records"
                )
            described[split] = Split(f"{split}.jsonl", gold=gold.found)
        corpus = replace(
            base, name=name, title=title, format="gold", splits=described, labels=tuple(labels) or base.labels,
            encoding="utf-8", options={}, nested="keep", split_sentences=0,
        )  # fmt: skip
        write_description(corpus, opener)
    return counts


class _Gold:
    """Records on their way into a file, and whether any of them had gold, or a mention."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.found = self.mentioned = False

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.found = self.found or record.entities is not None
            self.mentioned = self.mentioned or bool(record.entities)
            yield record
