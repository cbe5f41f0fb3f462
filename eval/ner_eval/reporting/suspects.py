"""Likely annotation errors: repeated disagreements in which the model is confident.

Answers carry no probabilities, so "confident" means consistent: of all places where the model's answers or gold name a
surface, the model treats at least 80 % the same way. A disagreement is listed when it occurs at least twice, or once
and the training split sides with the model at least three times and more often than with gold. A person must check the
list: a model that has learnt something wrong is just as consistent.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ner_eval.reporting.mention_errors import Pair

CONSISTENT = 0.8
REPEATED = 2
TRAINING = 3
# Means "no mention" on either side.
NOTHING = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A surface that gold labels one way and the model another ("" = not at all).

    They disagree in ``count`` places in the records ``ids``; in training the surface occurs ``training_gold``
    times with gold's label and ``training_model`` times with the model's.
    """

    surface: str
    gold: str
    model: str
    count: int
    ids: tuple[str, ...]
    training_gold: int
    training_model: int


def suspects(sentences: Iterable[tuple[str, list[Pair]]], training: Counter[tuple[str, str]]) -> list[Suspect]:
    """Find them in the sentences (record id, pairs), most convincing first.

    Args:
        training: how often the training split has (surface, label); empty if unknown.
    """
    places: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    treated: dict[str, Counter[str]] = defaultdict(Counter)
    for identity, pairs in sentences:
        for pair in _without_repeats(pairs):
            for surface, gold, model in _claims(pair):
                treated[surface][model] += 1
                if gold != model:
                    places[surface, gold, model].append(identity)
    found = []
    for (surface, gold, model), ids in places.items():
        consistent = treated[surface][model] >= CONSISTENT * treated[surface].total()
        for_gold, for_model = training[surface, gold], training[surface, model]
        sided = for_model >= TRAINING and for_model > for_gold
        if consistent and (len(ids) >= REPEATED or sided):
            found.append(Suspect(surface, gold, model, len(ids), tuple(dict.fromkeys(ids)), for_gold, for_model))
    return sorted(found, key=lambda s: (-s.count - s.training_model + s.training_gold, s.surface, s.gold, s.model))


def _without_repeats(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """A mention that the answer merely repeats says nothing about gold."""
    seen = set()
    # Pairs with gold first: if a mention is named twice, the one without gold is the repeat.
    for pair in sorted(pairs, key=lambda p: p.gold is None):
        claim = (pair.predicted.label, pair.predicted.span) if pair.predicted is not None else None
        if claim is None or claim not in seen:
            yield pair
        seen.add(claim)


def _claims(pair: Pair) -> list[tuple[str, str, str]]:
    """What a pair says about surfaces: (surface, gold's label, the model's label)."""
    if pair.kind == "hallucinated":
        return []
    if pair.gold is not None and pair.predicted is not None and pair.gold.text == pair.predicted.text:
        return [(pair.gold.text, pair.gold.label, pair.predicted.label)]
    gold = [] if pair.gold is None else [(pair.gold.text, pair.gold.label, NOTHING)]
    return gold + ([] if pair.predicted is None else [(pair.predicted.text, NOTHING, pair.predicted.label)])
