"""Texts that occur more than once: copies in a split, in several splits, and with different mentions."""

from collections.abc import Iterator, Sequence
from typing import Any

from ner_data.checking.places import Places
from ner_data.checking.report import MOST, PLACES, Finding, Found
from ner_data.checking.scanning import Scan
from ner_data.gold import Record


class Texts:
    """The texts of all splits: which records have the same, and how often.

    Attributes:
        splits: their names.
        split, number: of each record, which split it is in, and its number there.
        group: of each record, which distinct text it has; ``count``: how many there are.
        first: the first record with each text.
        marks: of each record, a hash of its mentions; ``labelled``: whether it has gold.
        copies: how often each text is in each split: [splits, count].
    """

    def __init__(self, scans: dict[str, Scan]) -> None:
        import numpy as np

        self.splits = list(scans)
        sizes = [len(scan.texts) for scan in scans.values()]
        self.split = np.repeat(np.arange(len(sizes), dtype=np.int8), sizes)
        self.number = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        hashes = np.concatenate([np.array(scan.texts, np.int64) for scan in scans.values()])
        self.marks = np.concatenate([np.array(scan.marks, np.int64) for scan in scans.values()])
        found, first, group = np.unique(hashes, return_index=True, return_inverse=True)
        self.first, self.group, self.count = first, group.astype(np.int32), len(found)
        del hashes, found, group
        self.copies = np.stack(
            [np.bincount(self.group[self.split == n], minlength=self.count) for n in range(len(sizes))]
        )
        # Without gold there is nothing that could differ.
        self.labelled = self.marks != hash(None)

    def versions(self, splits: Sequence[int]) -> Any:
        """How many different sets of mentions each text has in some splits."""
        import numpy as np

        repeated = self.copies[list(splits)].sum(axis=0) > 1
        rows = np.flatnonzero(np.isin(self.split, splits) & self.labelled & repeated[self.group])
        group, marks = self.group[rows], self.marks[rows]
        order = np.lexsort((marks, group))
        group, marks = group[order], marks[order]
        other = np.ones(len(rows), bool)
        other[1:] = (group[1:] != group[:-1]) | (marks[1:] != marks[:-1])
        return np.bincount(group[other], minlength=self.count)

    def rows(self, groups: Any) -> dict[int, list[int]]:
        """The records with each of some texts, in the order of the splits."""
        import numpy as np

        wanted = np.flatnonzero(np.isin(self.group, groups))
        found: dict[int, list[int]] = {int(group): [] for group in groups}
        for row in wanted.tolist():
            found[int(self.group[row])].append(row)
        return found

    def largest(self, sizes: Any) -> Any:
        """The texts with the largest sizes above zero, at most `MOST`: the largest first, of equal ones the first."""
        import numpy as np

        order = np.lexsort((self.first, -sizes))[:MOST]
        return order[sizes[order] > 0]

    def spot(self, row: int) -> tuple[str, int]:
        """The split of a record, and its number there."""
        return self.splits[self.split[row]], int(self.number[row])


def duplicates(texts: Texts, places: Places) -> Found:
    """Texts that are in one split more than once."""
    found = Found()
    candidates = []
    for at, split in enumerate(texts.splits):
        copies, versions = texts.copies[at], texts.versions([at])
        if not (repeated := int((copies > 1).sum())):
            continue
        extra, conflicting = int((copies - 1).clip(0).sum()), int((versions > 1).sum())
        found.count += repeated
        found.figures[split] = {"texts": repeated, "copies": extra, "conflicting": conflicting}
        found.notes.append(
            f"{split} repeats {repeated:,} texts ({extra:,} extra copies, {conflicting:,} with different mentions)"
        )
        largest = texts.largest((copies - 1).clip(0))
        rows = texts.rows(largest)
        for group in largest.tolist():
            own = [row for row in rows[group] if texts.split[row] == at]
            different = " with different mentions" if versions[group] > 1 else ""
            candidates.append((len(own), _finding(texts, places, own, f"{len(own):,} times in {split}{different}")))
    candidates.sort(key=lambda one: -one[0])
    found.findings = [finding for _, finding in candidates[:MOST]]
    return found


def leakage(texts: Texts, places: Places) -> Found:
    """Texts that are in more than one split."""
    found = Found()
    present = texts.copies > 0
    for one in range(len(texts.splits)):
        for other in range(one + 1, len(texts.splits)):
            both = present[one] & present[other]
            if not both.any():
                continue
            names = texts.splits[one], texts.splits[other]
            counts = [int(texts.copies[at][both].sum()) for at in (one, other)]
            conflicting = int((both & (texts.versions([one, other]) > 1)).sum())
            shared = int(both.sum())
            records = dict(zip(names, counts, strict=True))
            found.figures["/".join(names)] = {"texts": shared, **records, "conflicting": conflicting}
            found.notes.append(
                f"{names[0]} and {names[1]} share {shared:,} texts ({counts[0]:,} records of {names[0]}, "
                f"{counts[1]:,} of {names[1]}; {conflicting:,} with different mentions)"
            )
    leaking = present.sum(axis=0) > 1
    found.count = int(leaking.sum())
    largest = texts.largest(leaking * texts.copies.sum(axis=0))
    rows, versions = texts.rows(largest), texts.versions(range(len(texts.splits)))
    for group in largest.tolist():
        named = zip(texts.splits, texts.copies[:, group].tolist(), strict=True)
        in_each = [f"{split} {records:,}" for split, records in named if records]
        different = "; with different mentions" if versions[group] > 1 else ""
        own = each_split_first(rows[group], texts.split)
        found.findings.append(_finding(texts, places, own, f"records: {', '.join(in_each)}{different}"))
    return found


def each_split_first(rows: list[int], splits: Any) -> list[int]:
    """The same records, with the first one of every split in front."""
    first = {int(splits[row]): row for row in reversed(rows)}
    return sorted(first.values()) + [row for row in rows if row not in first.values()]


def conflicts(texts: Texts, places: Places) -> Found:
    """Texts whose copies have different mentions."""
    versions = texts.versions(range(len(texts.splits)))
    found = Found(int((versions > 1).sum()))
    if found.count:
        found.notes.append(
            f"{found.count:,} of {texts.count:,} distinct texts have different mentions in their copies"
        )
    largest = texts.largest((versions - 1).clip(0) * texts.copies.sum(axis=0))
    rows = texts.rows(largest)
    for group in largest.tolist():
        shown: dict[object, int] = {}  # one copy of each version
        for row in rows[group]:
            if texts.labelled[row]:
                shown.setdefault(int(texts.marks[row]), row)
        own = list(shown.values())
        records = [places.record(*texts.spot(row)) for row in own[:PLACES]]
        finding = _finding(texts, places, own, f"{len(own)} versions, which differ in")
        where = zip(finding.places, _differences(records), strict=True)
        found.findings.append(finding._replace(places=tuple(place._replace(note=note) for place, note in where)))
    return found


def _differences(records: list[Record]) -> Iterator[str]:
    """The mentions of each of several copies that not all of them have."""
    sets = [{(entity.start, entity.end, entity.label) for entity in record.gold} for record in records]
    common = set.intersection(*sets)
    for record, own in zip(records, sets, strict=True):
        only = [f"{record.text[start:end]} {label}" for start, end, label in sorted(own - common)]
        yield ", ".join(only) or "nothing more"


def _finding(texts: Texts, places: Places, rows: list[int], detail: str) -> Finding:
    """A finding about copies of a text, which are at ``rows``."""
    shown = [texts.spot(row) for row in rows[:PLACES]]
    where = tuple(places.at(split, (number, 0, 0)) for split, number in shown)
    return Finding(where[0].text, detail, where, len(rows) - len(where))
