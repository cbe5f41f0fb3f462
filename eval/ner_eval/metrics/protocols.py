"""The protocols: how predicted mentions are compared with gold. `PROTOCOLS` is the only table that score, scores.json,
compare, the report and the plot read; a new protocol is one more entry.

=========  ==========================================================================================================
text       per sentence the set of (label, surface); the headline is the micro F1
span       every mention counts, with its offsets and label; the headline is the micro F1
official   CLUENER's own score: the macro F1 of the protocol text over the corpus's labels
modes      nervaluate's strict, exact, partial and type (`ner_eval.metrics.modes`)
=========  ==========================================================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ner_eval.metrics.mention_arrays import Ints, MentionArrays, Mentions

# Axis 2 of a tally.
TP, FP, FN = range(3)
Tally = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to count.

    Attributes:
        name: what users type.
        title: one line in English, for tables and the report.
        title_zh: the same in Chinese.
        counted_as: the key of its counts in ``scores.json``; two protocols may share counts.
        average: the headline's average over labels, ``micro`` or ``macro``.
        tally: counts hits and misses per sentence and label, shape (sentences, labels + 1, 3); None for the modes,
            which count outcomes over all labels together.
        corpus: the corpus whose official score this is; None if there is none.
    """

    name: str
    title: str
    title_zh: str
    counted_as: str
    average: str
    tally: "Callable[[MentionArrays], Tally] | None"
    corpus: str | None = None

    @property
    def headline(self) -> str:
        """The name of the headline figure, as the label table has it."""
        return f"{self.average.capitalize()} Avg. F1"


def tally_text(arrays: MentionArrays) -> Tally:
    """Protocol text: each sentence's set of (label, surface).

    Returns:
        Counts, shape (sentences, labels + 1, 3): the last of axis 1 is all labels outside the set; axis 2 is
        TP, FP, FN.
    """
    gold, predicted = arrays.gold, arrays.predicted
    cells = _Cells(arrays)
    items = 1 + max(gold.surface.max(initial=0), predicted.surface.max(initial=0))
    gold_keys = cells.of(gold) * items + gold.surface
    predicted_keys = cells.of(predicted) * items + predicted.surface
    return cells.compare(gold_keys, predicted_keys, items, once=True)


def tally_span(arrays: MentionArrays) -> Tally:
    """Protocol span: every mention counts; start, end and label must be those of a gold mention, each matched once.

    A mention that is not in the text is a false positive, and so is one that repeats a label and span.
    Shape as `tally_text`.
    """
    gold, predicted = arrays.gold, arrays.predicted
    cells = _Cells(arrays)
    placed = predicted.where(predicted.start >= 0)
    width = 1 + max(gold.end.max(initial=0), placed.end.max(initial=0))
    spans = np.concatenate([gold.start * width + gold.end, placed.start * width + placed.end])
    # Dense numbers keep the keys far from the 64-bit limit, however long the texts are.
    distinct, number = np.unique(spans, return_inverse=True)
    items = max(1, len(distinct))
    gold_keys = cells.of(gold) * items + number[: len(gold.start)]
    placed_keys = cells.of(placed) * items + number[len(gold.start) :]
    counts = cells.compare(gold_keys, placed_keys, items)
    counts[:, :, FP] += cells.add_up(cells.of(predicted.where(predicted.start < 0)))
    return counts


class _Cells:
    """Numbers the pairs (sentence, label); each label outside the set has its own number."""

    def __init__(self, arrays: MentionArrays) -> None:
        self.sentences, self.labels = arrays.sentences, arrays.labels
        highest = max(arrays.gold.label.max(initial=0), arrays.predicted.label.max(initial=0))
        self.width = max(arrays.labels, int(highest) + 1)

    def of(self, mentions: Mentions) -> Ints:
        return mentions.sentence * self.width + mentions.label

    def add_up(self, cells: Ints, counts: Ints | None = None) -> Tally:
        """Sum counts (1 each if not given) by sentence and label; shape (sentences, labels + 1)."""
        label = np.minimum(cells % self.width, self.labels)
        index = cells // self.width * (self.labels + 1) + label
        summed = np.bincount(index, weights=counts, minlength=self.sentences * (self.labels + 1))
        return summed.astype(np.int32).reshape(self.sentences, self.labels + 1)

    def compare(self, gold_keys: Ints, predicted_keys: Ints, items: int, once: bool = False) -> Tally:
        """Intersect two multisets of keys ``cell * items + item``, or two sets (each key counts ``once``).

        Returns:
            Shape (sentences, labels + 1, 3).
        """
        gold, wanted = np.unique(gold_keys, return_counts=True)
        predicted, given = np.unique(predicted_keys, return_counts=True)
        if once:
            wanted, given = np.ones_like(wanted), np.ones_like(given)
        _, at_gold, at_predicted = np.intersect1d(gold, predicted, assume_unique=True, return_indices=True)
        hits = np.minimum(wanted[at_gold], given[at_predicted])
        true_positive = self.add_up(gold[at_gold] // items, hits)
        false_positive = self.add_up(predicted // items, given) - true_positive
        false_negative = self.add_up(gold // items, wanted) - true_positive
        return np.stack([true_positive, false_positive, false_negative], axis=2)


TEXT = Protocol(
    name="text",
    title="text (the set of (label, surface) of each sentence)",
    title_zh="text（按句去重的“类别 + 实体文本”）",
    counted_as="text",
    average="micro",
    tally=tally_text,
)
SPAN = Protocol(
    name="span",
    title="span (offsets and label, every mention counts)",
    title_zh="span（位置与类别，逐个计数）",
    counted_as="span",
    average="micro",
    tally=tally_span,
)
OFFICIAL = Protocol(
    name="official",
    title="official CLUENER (Macro Avg. of the protocol text over the corpus's labels; division by zero is 0)",
    title_zh="CLUENER 官方（text 协议各类别的宏平均；除零记 0）",
    counted_as="text",
    average="macro",
    tally=tally_text,
    corpus="cluener",
)
MODES = Protocol(
    name="modes",
    title="nervaluate's modes (strict, exact, partial, type)",
    title_zh="nervaluate 模式（strict、exact、partial、type）",
    counted_as="modes",
    average="micro",
    tally=None,
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (TEXT, SPAN, OFFICIAL, MODES)}


def by_label() -> dict[str, Protocol]:
    """The protocols that count hits and misses by label: those by which runs can be compared."""
    return {name: protocol for name, protocol in PROTOCOLS.items() if protocol.tally is not None}


def tallies() -> dict[str, "Callable[[MentionArrays], Tally]"]:
    """What is counted for ``scores.json``: key -> how, once for protocols that share their counts."""
    return {protocol.counted_as: protocol.tally for protocol in PROTOCOLS.values() if protocol.tally is not None}
