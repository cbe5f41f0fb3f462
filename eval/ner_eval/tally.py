"""True positives, false positives and false negatives per sentence and label, for the protocols text and span."""

import numpy as np
from numpy.typing import NDArray

from ner_eval.columns import Columns, Ints, Mentions

# Axis 2 of a tally.
TP, FP, FN = range(3)
Tally = NDArray[np.int32]


def tally_text(columns: Columns) -> Tally:
    """Protocol text: each sentence's set of (label, surface).

    Returns:
        Counts of the shape (sentences, labels + 1, 3): axis 1 ends with all labels that are not in the set, axis 2 is
        TP, FP, FN.
    """
    gold, predicted = columns.gold, columns.predicted
    cells = _Cells(columns)
    items = 1 + max(gold.surface.max(initial=0), predicted.surface.max(initial=0))
    gold_keys = cells.of(gold) * items + gold.surface
    predicted_keys = cells.of(predicted) * items + predicted.surface
    return cells.compare(gold_keys, predicted_keys, items, once=True)


def tally_span(columns: Columns) -> Tally:
    """Protocol span: every mention counts; start, end and label must be those of a gold mention, each found once.

    A mention that stands nowhere in the text is a false positive, and so is one that repeats a label and place.
    Shape as `tally_text`.
    """
    gold, predicted = columns.gold, columns.predicted
    cells = _Cells(columns)
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
    """Numbers the pairs (sentence, label) of a table, labels outside the set each for itself."""

    def __init__(self, columns: Columns) -> None:
        self.sentences, self.labels = columns.sentences, columns.labels
        highest = max(columns.gold.label.max(initial=0), columns.predicted.label.max(initial=0))
        self.width = max(columns.labels, int(highest) + 1)

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
