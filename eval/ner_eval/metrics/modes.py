"""The four modes of nervaluate (strict, exact, partial, type), counted for all sentences at once.

The rules are nervaluate's (github.com/MantisAI/nervaluate, ``strategies.py``): predicted mentions are taken in order;
each is compared with the gold mentions that none before it has taken, and counts as

=======  ==============================  =========================================  ==================
mode     correct                         otherwise, the first gold it overlaps       no overlap
=======  ==============================  =========================================  ==================
strict   same start, end and label       incorrect, and that gold is taken          spurious
exact    same start and end              incorrect, and that gold is taken          spurious
partial  same start and end              partial, and that gold is taken            spurious
type     same label and any overlap,     incorrect, and that gold is taken          spurious
         the nearest boundaries first
=======  ==============================  =========================================  ==================

Remaining gold is missed. Overlap means at least 1 % of the gold mention's characters. Mentions that are not in the
text are spurious; nervaluate itself has no way to express them.
"""

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ner_eval.metrics.mention_arrays import Ints, MentionArrays, Mentions

MODES = ("strict", "exact", "partial", "type")
OUTCOMES = ("correct", "incorrect", "partial", "missed", "spurious")
CORRECT, INCORRECT, PARTIAL, MISSED, SPURIOUS = range(5)
_MIN_OVERLAP = 0.01


def count_modes(arrays: MentionArrays) -> NDArray[np.int64]:
    """Count every mode over whole sentences; shape (modes, outcomes)."""
    gold, predicted = arrays.gold, arrays.predicted
    p, g = _overlapping(gold, predicted)
    same_place = (gold.start[g] == predicted.start[p]) & (gold.end[g] == predicted.end[p])
    same_label = gold.label[g] == predicted.label[p]
    rivals = np.bincount(p, minlength=len(predicted.start))[p] * np.bincount(g, minlength=len(gold.start))[g]
    alone = rivals == 1
    counts = np.zeros((len(MODES), len(OUTCOMES)), dtype=np.int64)
    # A prediction and a gold mention that overlap nothing else: nothing competes, so the order does not matter.
    for mode, right in enumerate((same_place & same_label, same_place, same_place, same_label)):
        hits = int(np.count_nonzero(right & alone))
        counts[mode, CORRECT] += hits
        counts[mode, _near(mode)] += int(np.count_nonzero(alone)) - hits
    distance = np.abs(gold.start[g] - predicted.start[p]) + np.abs(gold.end[g] - predicted.end[p])
    edges = np.stack([p, g, same_place, same_label, distance], axis=1)[~alone].tolist()
    by_prediction = [list(edges) for _, edges in groupby(edges, key=lambda edge: int(edge[0]))]
    for mode, name in enumerate(MODES):
        counts[mode] += _match(name, by_prediction)
        matched = int(counts[mode].sum())
        counts[mode, MISSED] = len(gold.start) - matched
        counts[mode, SPURIOUS] = len(predicted.start) - matched
    return counts


def _near(mode: int) -> int:
    return PARTIAL if MODES[mode] == "partial" else INCORRECT


def _overlapping(gold: Mentions, predicted: Mentions) -> tuple[Ints, Ints]:
    """All pairs (predicted, gold) of one sentence that overlap enough, as two index arrays, in order of both."""
    first = np.searchsorted(gold.sentence, predicted.sentence, side="left")
    count = np.searchsorted(gold.sentence, predicted.sentence, side="right") - first
    p = np.repeat(np.arange(len(predicted.start)), count)
    within = np.arange(len(p)) - np.repeat(np.cumsum(count) - count, count)
    g = first[p] + within
    shared = np.minimum(gold.end[g], predicted.end[p]) - np.maximum(gold.start[g], predicted.start[p])
    enough = (predicted.start[p] >= 0) & (shared > 0) & (shared / (gold.end[g] - gold.start[g]) >= _MIN_OVERLAP)
    return p[enough], g[enough]


def _match(mode: str, by_prediction: list[list[list[int]]]) -> NDArray[np.int64]:
    """Match mentions that compete, one prediction after the other; the outcomes except missed and spurious.

    ``by_prediction`` holds for each prediction its candidates [predicted, gold, same place, same label, distance].
    """
    counts = np.zeros(len(OUTCOMES), dtype=np.int64)
    taken: set[int] = set()
    for candidates in by_prediction:
        free = [edge for edge in candidates if edge[1] not in taken]
        if not free:
            continue
        if mode == "type":
            right = sorted((edge for edge in free if edge[3]), key=lambda edge: edge[4])
        else:
            right = [edge for edge in free if edge[2] and (edge[3] or mode != "strict")]
        taken.add((right or free)[0][1])
        counts[CORRECT if right else _near(MODES.index(mode))] += 1
    return counts
