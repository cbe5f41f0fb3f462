"""What went wrong, mention by mention: every gold and predicted mention of a sentence falls into one class.

Mentions are compared by position (protocol span). Each gold mention is paired with at most one predicted mention, the
closest relation first; in this order:

===============  ===================================================
correct          same start, end and label
label            same start and end, different label
boundary         overlap, same label
boundary_label   overlap, different label
hallucinated     predicted, and the surface is not in the text
spurious         predicted, and no gold mention is left to pair it with
missed           gold, and no predicted mention is left to pair it with
===============  ===================================================
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ner_data.alignment import Span
from ner_data.gold import Entity, Mention
from ner_eval.metrics.loaded_run import Answered

CORRECT = "correct"
CLASSES = ("missed", "spurious", "boundary", "label", "boundary_label", "hallucinated")


@dataclass(frozen=True, slots=True)
class Predicted:
    """A predicted mention and its position (``span`` None: not in the text)."""

    label: str
    text: str
    span: Span | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A class, with the gold mention, the predicted mention, or both."""

    kind: str
    gold: Entity | None
    predicted: Predicted | None


_Relation = Callable[[Entity, Predicted], bool]


def _same_place(gold: Entity, predicted: Predicted) -> bool:
    return (gold.start, gold.end) == predicted.span


def _overlap(gold: Entity, predicted: Predicted) -> bool:
    return predicted.span is not None and gold.start < predicted.span[1] and predicted.span[0] < gold.end


_RELATIONS: tuple[tuple[str, _Relation], ...] = (
    (CORRECT, lambda g, p: _same_place(g, p) and g.label == p.label),
    ("label", _same_place),
    ("boundary", lambda g, p: _overlap(g, p) and g.label == p.label),
    ("boundary_label", _overlap),
)


def pair(answered: Answered) -> list[Pair]:
    """Classify every mention of a sentence, in order of position (mentions that are not in the text come last)."""
    mentions = zip(answered.parsed.mentions, answered.spans, strict=True)
    return _pair(list(answered.record.gold), [_predicted(mention, span) for mention, span in mentions])


def _predicted(mention: Mention, span: Span | None) -> Predicted:
    return Predicted(mention.label, mention.text, span)


def _pair(gold: list[Entity], predicted: list[Predicted]) -> list[Pair]:
    pairs: list[Pair] = []
    for kind, related in _RELATIONS:
        for entity in list(gold):
            found = next((p for p in predicted if related(entity, p)), None)
            if found is not None:
                pairs.append(Pair(kind, entity, found))
                gold.remove(entity)
                predicted.remove(found)
    pairs += [Pair("missed", entity, None) for entity in gold]
    pairs += [Pair("spurious" if p.span else "hallucinated", None, p) for p in predicted]
    return sorted(pairs, key=_position)


def _position(pair: Pair) -> tuple[float, float]:
    if pair.gold is not None:
        return pair.gold.start, pair.gold.end
    span = pair.predicted.span if pair.predicted is not None else None
    return span or (float("inf"), 0.0)


def confusion(pairs: Iterator[Pair], labels: tuple[str, ...]) -> list[list[int]]:
    """Count pairs by label.

    Returns:
        Rows: the gold labels, then predictions without gold. Columns: the predicted labels, then labels outside the
        set, then gold without prediction.
    """
    number = {label: index for index, label in enumerate(labels)}
    outside, nothing = len(labels), len(labels) + 1
    cells = [[0] * (len(labels) + 2) for _ in range(len(labels) + 1)]
    for item in pairs:
        row = len(labels) if item.gold is None else number[item.gold.label]
        column = nothing if item.predicted is None else number.get(item.predicted.label, outside)
        cells[row][column] += 1
    return cells
