"""What became of the records of a conversion, counted and in words."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

from ner_common.errors import UserErrors, counted
from ner_data.described import Corpus


@dataclass(slots=True)
class Converted:
    """What became of the records of one split, or of some of them.

    Attributes:
        kept: how many were kept; with ``split_sentences``, of the sentences that they were cut into.
        rejected: how many records were skipped, by reason.
        repaired: how often each documented policy was applied to a record that was kept, or left out what is none.
        problems: why records were skipped, one message each, as many as are shown.
        mentions: how many mentions of each label were kept.
        lost: how many skipped records name each label.
        labelled: how many kept records have a mention.
        unlabelled: how many skipped records name a label.
        read: how many records the file has.
        texts: a hash of the text of each kept record; ``marks``: one of its entities. Both are Python's own, which are
            the same in a process and in those that it forks.
        lines: the lines of the gold file, of some records only.
        identities: hashes of their ids in the raw file, of some records only.
    """

    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    mentions: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    unlabelled: int = 0
    read: int = 0
    texts: "array[int]" = field(default_factory=lambda: array("q"))
    marks: "array[int]" = field(default_factory=lambda: array("q"))
    lines: bytes = b""
    identities: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, other: "Converted") -> None:
        """Add the counts of the records that follow."""
        for name in ("kept", "labelled", "unlabelled", "read"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("rejected", "repaired", "mentions", "lost"):
            getattr(self, name).update(getattr(other, name))
        self.problems.extend(other.problems[: UserErrors.SHOWN - len(self.problems)])
        self.texts.extend(other.texts)
        self.marks.extend(other.marks)


def tally(converted: Converted, gold: bool) -> str:
    """What became of the records of a split, on one line."""
    text = f"read {converted.read}, kept {converted.kept}, rejected {converted.rejected.total()}"
    text += f" ({counted(converted.rejected)})" if converted.rejected else ""
    text += "".join(f"; {policy}: {count}" for policy, count in converted.repaired.most_common())
    return text + ("" if gold else "; no gold: for prediction only")


def label_table(corpus: Corpus, splits: dict[str, Converted]) -> str:
    """Mentions per label and split, and in all."""
    import pandas as pd

    columns = {split: converted.mentions for split, converted in splits.items() if corpus.splits[split].gold}
    table = pd.DataFrame(columns, index=[label.id for label in corpus.labels], dtype="Int64").fillna(0)
    # Not table.loc["total"], which may be a label.
    table = pd.concat([table, table.sum().to_frame("total").T])
    return "mentions per label\n" + table.to_string()


def duplicates(splits: dict[str, Converted]) -> list[str]:
    """Report repeated texts: within a split they count twice, shared by two splits they leak into the score."""
    import numpy as np

    lines = []
    seen = {}
    for split, converted in splits.items():
        pairs = np.column_stack([np.array(converted.texts, np.int64), np.array(converted.marks, np.int64)])
        texts, counts = np.unique(pairs[:, 0], return_counts=True)
        seen[split] = texts
        if len(texts) < len(pairs):
            distinct = np.unique(pairs, axis=0)[:, 0]  # a text as often as it has different entities
            conflicting = (np.unique(distinct, return_counts=True)[1] > 1).sum()
            lines.append(
                f"note: {split} repeats {(counts > 1).sum()} texts "
                f"({len(pairs) - len(texts)} extra copies, {conflicting} with different labels)"
            )
    names = list(seen)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if shared := len(np.intersect1d(seen[one], seen[other], assume_unique=True)):
                lines.append(f"note: {one} and {other} share {shared} texts")
    return lines
