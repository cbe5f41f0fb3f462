"""Findings about surfaces over all splits: several labels, two widths, left unannotated; and odd single mentions."""

from collections import Counter
from collections.abc import Iterable
from math import sqrt

from ner_data.checking.mentions import narrow
from ner_data.checking.places import Places
from ner_data.checking.report import MOST, PLACES, Finding, Found, Place
from ner_data.checking.searching import Hits

_KINDS = 5  # of oddities that are counted one by one
_OFTEN = 0.5  # a surface that is annotated less often than that is probably a common word


class Surfaces:
    """How often each surface has which label, over all splits.

    Attributes:
        labels: per surface, the mentions of each label.
        ambiguous: the surfaces with several labels.
        widths: surfaces that differ only in the width of their characters, by their half-width form.
    """

    def __init__(self, counts: Iterable[Counter[tuple[str, str]]]) -> None:
        self.labels: dict[str, Counter[str]] = {}
        for count in counts:
            for (surface, label), mentions in count.items():
                self.labels.setdefault(surface, Counter())[label] += mentions
        self.ambiguous = {surface: labels for surface, labels in self.labels.items() if len(labels) > 1}
        self.widths: dict[str, set[str]] = {}
        for surface in self.labels:
            if (other := narrow(surface)) != surface:
                self.widths.setdefault(other, {other} & self.labels.keys()).add(surface)
        self.widths = {form: surfaces for form, surfaces in self.widths.items() if len(surfaces) > 1}

    def watched(self) -> set[tuple[str, str]]:
        """The mentions whose places the findings need."""
        several = {(surface, label) for surface, labels in self.ambiguous.items() for label in _rarer(labels)}
        forms = {
            (surface, label) for group in self.widths.values() for surface in group for label in self.labels[surface]
        }
        return several | forms


def _rarer(labels: Counter[str]) -> list[str]:
    return [label for label, _ in labels.most_common()[1:]]


def one_sided(hits: int, of: int) -> float:
    """How sure a share is high: the lower end of Wilson's 95 % interval for ``hits`` of ``of``.

    3 of 3 is less than 99 of 100. Wilson, "Probable inference, the law of succession, and statistical inference",
    1927.
    """
    z = 1.96
    share = hits / of
    centre = share + z * z / (2 * of)
    return (centre - z * sqrt(share * (1 - share) / of + z * z / (4 * of * of))) / (1 + z * z / of)


def counted(labels: Counter[str]) -> str:
    """``company 12, name 1``."""
    return ", ".join(f"{label} {mentions:,}" for label, mentions in labels.most_common())


def times(count: int) -> str:
    """``once``, or ``1,200 times``."""
    return f"{count:,} times" if count != 1 else "once"


def ambiguous(surfaces: Surfaces, hits: dict[str, Hits], places: Places) -> Found:
    """Surfaces with several labels, the most one-sided first."""
    found = Found(len(surfaces.ambiguous))
    rarer = sum(labels.total() - max(labels.values()) for labels in surfaces.ambiguous.values())
    if found.count:
        distinct = len(surfaces.labels)
        found.notes.append(
            f"{found.count:,} of {distinct:,} surfaces have several labels; {rarer:,} mentions have a rarer one"
        )
    found.figures = {"surfaces": found.count, "mentions": rarer}
    ranked = sorted(
        surfaces.ambiguous.items(), key=lambda item: (-one_sided(max(item[1].values()), item[1].total()), item[0])
    )
    for surface, labels in ranked[:MOST]:
        keys = [(surface, label) for label in _rarer(labels)]
        where = _watched(hits, keys, places)
        more = labels.total() - max(labels.values()) - len(where)
        found.findings.append(Finding(surface, counted(labels), where, more))
    return found


def _watched(hits: dict[str, Hits], keys: list[tuple[str, str]], places: Places) -> tuple[Place, ...]:
    """The first places of some watched mentions, the rarest first."""
    spots = [(split, spot) for key in reversed(keys) for split in hits for spot in hits[split].watched.get(key, ())]
    return tuple(places.at(split, spot) for split, spot in spots[:PLACES])


def unannotated(surfaces: Surfaces, hits: dict[str, Hits], places: Places) -> Found:
    """Surfaces that are mentions in some places and none in others, the most one-sided first."""
    free: Counter[str] = Counter()
    for hit in hits.values():
        free.update(hit.free)
    annotated = {surface: surfaces.labels[surface].total() for surface in free}
    often = [surface for surface in free if annotated[surface] >= _OFTEN * (annotated[surface] + free[surface])]
    found = Found(len(often))
    occurrences = sum(free[surface] for surface in often)
    found.figures = {"surfaces": len(often), "occurrences": occurrences, "seldom": len(free) - len(often)}
    found.figures["again"] = {split: scan.figures.again for split, scan in places.scans.items()}
    if free:
        found.notes.append(
            f"{len(often):,} surfaces are left unannotated in {occurrences:,} places and annotated at least as often; "
            f"{len(free) - len(often):,} others are annotated less often than not and are not listed"
        )
    for split, records in found.figures["again"].items():
        if records:
            found.notes.append(f"{split}: in {records:,} records, a surface annotated there occurs again unannotated")
    often.sort(key=lambda surface: (-one_sided(annotated[surface], annotated[surface] + free[surface]), surface))
    for surface in often[:MOST]:
        spots = [(split, spot) for split in hits for spot in hits[split].spots.get(surface, ())]
        where = tuple(places.at(split, spot) for split, spot in spots[:PLACES])
        labelled = f"{times(annotated[surface])} ({counted(surfaces.labels[surface])})"
        detail = f"annotated {labelled}, left out {times(free[surface])}"
        found.findings.append(Finding(surface, detail, where, free[surface] - len(where)))
    return found


def single(kind: str, places: Places) -> Found:
    """What is odd in single records, of one class."""
    found = Found()
    total: Counter[str] = Counter()
    for split, scan in places.scans.items():
        own = {what: count for (of, what), count in scan.odd.items() if of == kind}
        if own:
            found.figures[split] = sum(own.values())
        total.update(own)
        for what in own:
            for spot in scan.spots[kind, what][: MOST - len(found.findings)]:
                place = places.at(split, spot)
                found.findings.append(Finding(place.text[place.start : place.end], what or _TITLES[kind], (place,)))
    found.count = total.total()
    found.notes = [f"{what or _TITLES[kind]}: {count:,}" for what, count in total.most_common(_KINDS)]
    if rest := total.total() - sum(count for _, count in total.most_common(_KINDS)):
        found.notes.append(f"others: {rest:,}")
    return found


_TITLES = {"overlaps": "mentions that share characters"}


def width(surfaces: Surfaces, hits: dict[str, Hits], places: Places) -> Found:
    """Mixed widths inside a mention, and surfaces that are written both ways."""
    found = single("width", places)
    found.count += len(surfaces.widths)
    if surfaces.widths:
        found.notes.append(f"{len(surfaces.widths):,} surfaces are written in full width and in half width")
    both = []
    for group in surfaces.widths.values():
        forms = sorted(group, key=lambda form: (-surfaces.labels[form].total(), form))
        total = [surfaces.labels[form].total() for form in forms]
        both.append((one_sided(total[0], sum(total)), forms, sum(total[1:])))
    for _, forms, rarer in sorted(both, key=lambda one: (-one[0], one[1]))[:MOST]:
        where = _watched(hits, [(form, label) for form in forms[1:] for label in surfaces.labels[form]], places)
        detail = "; ".join(f"{form} {times(surfaces.labels[form].total())}" for form in forms)
        found.findings.append(Finding(forms[0], detail, where, rarer - len(where)))
    corpus = []
    for split, scan in places.scans.items():
        wide, half = scan.figures.wide, scan.figures.narrow
        if wide > half:
            detail = f"{wide:,} letters and digits are full-width, {half:,} half-width, which is what models write"
            corpus.append(Finding(split, detail, (places.file(split),)))
    found.count += len(corpus)
    found.findings = [*corpus, *found.findings][:MOST]
    return found


def characters(places: Places) -> Found:
    """Unusual characters, each once per split."""
    found = Found()
    for split, scan in places.scans.items():
        for (kind, what), count in scan.odd.most_common():
            if kind == "characters":
                found.count += count
                found.figures.setdefault(split, {})[what] = count
                where = tuple(places.each(split, scan.spots[kind, what]))
                found.findings.append(Finding(what, f"{count:,} in {split}", where))
    if found.count:
        kinds = len({finding.what for finding in found.findings})
        found.notes.append(f"{found.count:,} characters of {kinds} kinds")
    found.findings = found.findings[:MOST]
    return found
