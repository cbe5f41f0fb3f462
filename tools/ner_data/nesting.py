"""What becomes of nested and crossing mentions where a form or a model can hold flat ones only."""

from collections.abc import Callable, Sequence

from ner_data.gold import Entity

_Order = Callable[[Entity], tuple[int, int]]
# Which of two overlapping mentions stays: the longer, or the shorter one; of equally long ones, the first.
_FIRST: dict[str, _Order] = {
    "outermost": lambda entity: (entity.start - entity.end, entity.start),
    "innermost": lambda entity: (entity.end - entity.start, entity.start),
}
POLICIES = ("keep", *_FIRST)


def overlap(entities: Sequence[Entity]) -> bool:
    """Whether any two of some mentions, sorted by their starts, share a character."""
    end = 0
    for entity in entities:
        if entity.start < end:
            return True
        end = entity.end
    return False


def flatten(entities: Sequence[Entity], policy: str) -> tuple[Entity, ...]:
    """The mentions that a policy keeps, sorted; with ``keep`` all of them.

    ``outermost`` keeps the longest mentions, ``innermost`` the shortest ones, as far as none shares a character with
    one that is already kept. Two labels of the same span are an overlap too: the first in the order of labels stays.
    """
    if policy == "keep" or not overlap(entities):
        return tuple(entities)
    kept: list[Entity] = []
    for entity in sorted(sorted(entities), key=_FIRST[policy]):
        if all(entity.end <= other.start or other.end <= entity.start for other in kept):
            kept.append(entity)
    return tuple(sorted(kept))
