"""Mentions as arrays of numbers, so counting takes a few array operations, and 100,000 sentences take seconds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ner_eval.metrics.loaded_run import Answered

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mentions:
    """Gold or predicted mentions, one per row, by sentence and position; all columns have the shape (mentions,).

    Attributes:
        sentence: index of the sentence.
        label: index into the label set; labels outside the set get numbers after it, one each.
        surface: a number for the string.
        start, end: half-open characters; -1 for a surface that is not in the text.
    """

    sentence: Ints
    label: Ints
    surface: Ints
    start: Ints
    end: Ints

    def where(self, mask: NDArray[np.bool_]) -> "Mentions":
        """The rows of a boolean mask."""
        return Mentions(self.sentence[mask], self.label[mask], self.surface[mask], self.start[mask], self.end[mask])


@dataclass(frozen=True, slots=True)
class MentionArrays:
    """The mentions of ``sentences`` sentences over ``labels`` labels; ``exact``, shape (sentences,): whose answers
    match the form exactly."""

    sentences: int
    labels: int
    gold: Mentions
    predicted: Mentions
    exact: NDArray[np.bool_]

    def strict(self) -> "MentionArrays":
        """The same sentences with strict parsing: an answer that does not match the form exactly has no mentions."""
        return replace(self, predicted=self.predicted.where(self.exact[self.predicted.sentence]))


def _mentions(values: list[int]) -> Mentions:
    """Flat rows of five numbers as columns."""
    table = np.array(values, dtype=np.int64).reshape(-1, 5)
    # By position, as gold is; equal spans keep the order of the answer.
    order = np.lexsort((table[:, 4], table[:, 3], table[:, 0]))
    return Mentions(*np.ascontiguousarray(table[order].T))


def mention_arrays(answered: Iterable[Answered], labels: Sequence[str]) -> MentionArrays:
    """Put the mentions of sentences into arrays."""
    label_number = {label: number for number, label in enumerate(labels)}
    surface_number: dict[str, int] = {}
    # Flat lists of numbers: a tuple per row would keep the garbage collector busy.
    gold: list[int] = []
    predicted: list[int] = []
    exact: list[bool] = []
    for sentence, item in enumerate(answered):
        for e in item.record.gold:
            surface = surface_number.setdefault(e.text, len(surface_number))
            label = label_number.setdefault(e.label, len(label_number))
            gold += (sentence, label, surface, e.start, e.end)
        for mention, span in zip(item.parsed.mentions, item.spans, strict=True):
            surface = surface_number.setdefault(mention.text, len(surface_number))
            label = label_number.setdefault(mention.label, len(label_number))
            predicted += (sentence, label, surface, *(span or (-1, -1)))
        exact.append(not item.parsed.problems)
    return MentionArrays(
        len(exact), len(labels), _mentions(gold), _mentions(predicted), np.array(exact, dtype=np.bool_)
    )
