"""Corpora that are made from others: their gold records as raw files, with a description like any other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from ner_common.files import Opener, check_free, write_together
from ner_data.corpus import CORPORA, RAW, check_name, write_description
from ner_data.described import Corpus, Label, Split
from ner_data.gold import Record, write_gold


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
        write: opens its files, if others are written together with them.

    Returns:
        How many records each split got.

    Raises:
        UserError: the name cannot be a file's, or there is such a corpus.
    """
    check_new(name)
    counts: dict[str, int] = {}
    described: dict[str, Split] = {}
    with nullcontext(write) if write else write_together() as opener:
        for split, records in splits.items():
            gold = _Gold(records)
            counts[split] = write_gold(RAW / name / f"{split}.jsonl", gold, opener)
            described[split] = Split(f"{split}.jsonl", gold=gold.found or not counts[split])
        corpus = replace(
            base, name=name, title=title, format="gold", splits=described, labels=tuple(labels) or base.labels,
            encoding="utf-8", options={}, nested="keep", split_sentences=0,
        )  # fmt: skip
        write_description(corpus, opener)
    return counts


class _Gold:
    """Records on their way into a file, and whether any of them had gold."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.found = False

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.found = self.found or record.entities is not None
            yield record
