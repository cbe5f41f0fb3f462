"""Division of groups of records into parts with the same shares of every label.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas: On the stratification of multi-label data, ECML PKDD 2011),
with two differences: what is placed is a group of records that must stay together, the largest first, and what is
divided are mentions, so a group counts as often as it has them.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ner_data.gold import Record

NONE = ""  # counted like a label: records without an entity. No label is empty.
_RECORDS = "\n"  # all records; no label has a line break


def weights(records: Iterable[Record]) -> Counter[str]:
    """What a group counts: its mentions of each label, and its records."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(entity.label for entity in record.entities or ())
        total.update([_RECORDS] if record.entities else [_RECORDS, NONE])
    return total


def divide(groups: Sequence[Mapping[str, int]], shares: Sequence[float], seed: int) -> list[int]:
    """The part, from 0, of each group.

    The label with the fewest groups left is next. Each of its groups goes to the part that lacks most of its mentions;
    of equal ones, to the one that lacks most records; of equal ones, to any.

    Args:
        groups: the `weights` of each.
        shares: of each part; their sum is 1.
        seed: of the order of equally large groups, and of ties.
    """
    draw = random.Random(seed)
    order = draw.sample(range(len(groups)), len(groups))
    order.sort(key=lambda index: groups[index][_RECORDS], reverse=True)
    totals: Counter[str] = Counter()
    for group in groups:
        totals.update(group)
    lacking = [{label: share * total for label, total in totals.items()} for share in shares]
    members: dict[str, list[int]] = {label: [] for label in sorted(totals) if label != _RECORDS}
    for index in order:
        for label in groups[index].keys() & members.keys():
            members[label].append(index)
    left = Counter({label: len(indices) for label, indices in members.items()})
    part_of = [-1] * len(groups)
    while left:
        label = min(left, key=lambda label: (left[label], label))
        for index in members[label]:
            if part_of[index] >= 0:
                continue
            keys = [(part[label], part[_RECORDS], draw.random()) for part in lacking]
            part_of[index] = chosen = keys.index(max(keys))
            for counted, count in groups[index].items():
                lacking[chosen][counted] -= count
                if counted in left:
                    left[counted] -= 1
        del left[label]
    return part_of
