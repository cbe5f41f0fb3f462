"""Findings about splits as wholes: rare labels, distributions that differ, no negative examples."""

from collections import Counter
from collections.abc import Mapping
from math import log, log2, sqrt
from typing import Any

from ner_data.checking.places import Places
from ner_data.checking.report import PLACES, Figures, Finding, Found
from ner_data.checking.searching import Hits

RARE = 50  # mentions in train below which a label counts as rare: a convention, not a law
FEW = 10  # mentions below which a score says little: one of them is 10 points of recall
DIVERGENCE = 0.01  # bits below which a difference is too small to matter
_BIN = 10  # characters


def rare_labels(splits: Mapping[str, Figures], labels: list[str], rare: int) -> list[str]:
    """Labels of which train has fewer than ``rare`` mentions, or another split with gold fewer than `FEW`."""
    known = [*labels, *sorted({label for one in splits.values() for label in one.labels} - set(labels))]
    gold = {split: one for split, one in splits.items() if one.records > one.unlabelled}
    return [
        label
        for label in known
        if any(one.labels[label] < (rare if split == "train" else FEW) for split, one in gold.items())
    ]


def rare(splits: Mapping[str, Figures], labels: list[str], least: int, hits: dict[str, Hits], places: Places) -> Found:
    """See `rare_labels`; the rarest first."""
    names = rare_labels(splits, labels, least)
    names.sort(key=lambda label: sum(one.labels[label] for one in splits.values()))
    found = Found(len(names))
    if names:
        found.notes.append(f"{len(names)} labels have fewer than {least} mentions in train, or {FEW} in another split")
    for label in names:
        counts = {split: one.labels[label] for split, one in splits.items() if one.records > one.unlabelled}
        found.figures[label] = counts
        spots = [(split, spot) for split in hits for spot in hits[split].watched.get(("", label), ())][:PLACES]
        where = tuple(places.at(split, spot) for split, spot in spots) or tuple(map(places.file, counts))
        detail = ", ".join(f"{split} {count:,}" for split, count in counts.items())
        found.findings.append(Finding(label, f"mentions: {detail}", where, max(0, sum(counts.values()) - len(where))))
    return found


def negatives(splits: Mapping[str, Figures], places: Places) -> Found:
    """Whether train has no sentence without mentions."""
    train = splits.get("train")
    if train is None or train.empty or train.records == train.unlabelled:
        return Found()
    others = [split for split, one in splits.items() if one.records > one.unlabelled and not one.empty]
    finding = Finding(", ".join(others), "every record has a mention", tuple(map(places.file, others)))
    return Found(1, [finding], figures=dict.fromkeys(others, 0))


def divergence(one: Mapping[Any, int], other: Mapping[Any, int]) -> float:
    """Jensen-Shannon divergence of two distributions given as counts, in bits: 0 if they are equal, at most 1.

    H((P + Q) / 2) - (H(P) + H(Q)) / 2 with Shannon's entropy H. Lin, "Divergence measures based on the Shannon
    entropy", 1991.
    """
    first, second = _shares(one), _shares(other)
    mean = {key: (first.get(key, 0) + second.get(key, 0)) / 2 for key in {*first, *second}}
    return max(0.0, _entropy(mean) - (_entropy(first) + _entropy(second)) / 2)


def by_chance(one: Mapping[Any, int], other: Mapping[Any, int]) -> bool:
    """Whether counts can well be two draws from one distribution: the G test of homogeneity at 0.1 %.

    G = 2 Σ observed ln(observed / expected) is compared with the chi-square distribution of (categories - 1) degrees
    of freedom, whose critical value is Wilson and Hilferty's approximation. Sokal and Rohlf, "Biometry".
    """
    totals = Counter(one) + Counter(other)
    whole = totals.total()
    g = 0.0
    for counts in (one, other):
        share = sum(counts.values()) / whole
        g += sum(2 * count * log(count / (totals[key] * share)) for key, count in counts.items() if count)
    degrees = len(totals) - 1
    if not degrees:
        return True
    z = 3.0902  # the 99.9 % quantile of the normal distribution
    return g < degrees * (1 - 2 / (9 * degrees) + z * sqrt(2 / (9 * degrees))) ** 3


def _shares(counts: Mapping[Any, int]) -> dict[Any, float]:
    whole = sum(counts.values())
    return {key: count / whole for key, count in counts.items() if count}


def _entropy(shares: Mapping[Any, float]) -> float:
    return -sum(share * log2(share) for share in shares.values())


def drift(splits: Mapping[str, Figures], places: Places) -> Found:
    """Compare every split with train: shares of labels, lengths, and mentions per record."""
    found = Found()
    train = splits.get("train", Figures(""))
    for split, other in splits.items():
        if split == "train":
            continue
        for what, one, two in (
            ("labels", train.labels, other.labels),
            ("lengths", _binned(train.lengths), _binned(other.lengths)),
            ("mentions per record", train.sizes, other.sizes),
        ):
            if not one.total() or not two.total():
                continue
            bits, chance = divergence(one, two), by_chance(one, two)
            found.figures.setdefault(split, {})[what] = {"bits": round(bits, 4), "by_chance": chance}
            if bits >= DIVERGENCE and not chance:
                detail = f"{bits:.4f} bits from train's; the most: {_most(one, two, what)}"
                found.findings.append(Finding(f"{split}: {what}", detail, (places.file("train"), places.file(split))))
    found.count = len(found.findings)
    return found


def _binned(lengths: Counter[int]) -> Counter[int]:
    """Lengths in steps of ten; above 200, ever longer ones."""
    found: Counter[int] = Counter()
    for length, count in lengths.items():
        found[length // _BIN * _BIN if length < 200 else 200 * 2 ** int(log2(length / 200))] += count
    return found


def _most(one: Counter[Any], other: Counter[Any], what: str) -> str:
    """What contributes most to a difference, with both shares."""
    first, second = _shares(one), _shares(other)
    keys = sorted({*first, *second}, key=lambda key: -abs(first.get(key, 0) - second.get(key, 0)))[:3]
    named = {"labels": "{}", "lengths": "from {} characters", "mentions per record": "{} mentions"}[what]
    return ", ".join(f"{named.format(key)} {second.get(key, 0):.1%} (train {first.get(key, 0):.1%})" for key in keys)
