"""Records of the training split that a prompt shows with their answers, drawn so that every label occurs."""

import random
from collections.abc import Iterable, Sequence
from math import ceil

from ner_common.errors import UserError, escaped
from ner_data.described import Corpus
from ner_data.gold import Record


def draw(corpus: Corpus, gold: dict[str, list[Record]], count: int, seed: int) -> list[Record]:
    """Draw ``count`` records of the training split; none has a text that another split has too.

    Raises:
        UserError: the count is negative, the split has too few records, some label never occurs in it, or so few
            records cannot show all labels.
    """
    if count < 0:
        raise UserError(f"{count} demonstrations: ask for 1 or more, or for none")
    if not count:
        return []
    held_out = {record.text for split, records in gold.items() if split != "train" for record in records}
    able = [record for record in gold["train"] if record.entities is not None and record.text not in held_out]
    labels = {label.id for label in corpus.labels}
    if len({record.text for record in able}) <= count:
        raise UserError(
            f"{corpus.name}: {count} demonstrations leave nothing to train on: its training split has "
            f"{len(able)} records that no other split has; ask for fewer"
        )
    if unseen := labels - {entity.label for record in able for entity in record.gold}:
        names = ", ".join(escaped(label) for label in sorted(unseen))
        raise UserError(
            f"{corpus.name}: no record of its training split can show {names}, and demonstrations show every label; "
            "leave --demonstrations out"
        )
    drawn = random.Random(seed).sample(able, len(able))
    if chosen := _choose(drawn, labels, count):
        return chosen
    enough = next(more for more in range(count + 1, len(labels) + 1) if _choose(drawn, labels, more))
    raise UserError(
        f"{corpus.name}: {count} demonstrations cannot show its {len(labels)} labels; ask for {enough} or more"
    )


def _choose(drawn: Sequence[Record], labels: Iterable[str], count: int) -> list[Record] | None:
    """The first records that show all labels, or None: each shows as many missing ones as those after it need."""
    missing = set(labels)
    chosen: list[Record] = []
    for left in range(count, 0, -1):
        needed = ceil(len(missing) / left)
        texts = {record.text for record in chosen}
        others = [record for record in drawn if record.text not in texts]
        shown = {record.id: len(missing & {entity.label for entity in record.gold}) for record in others}
        most = max(shown.values())
        best = next(record for record in others if shown[record.id] >= min(needed, most))
        chosen.append(best)
        missing -= {entity.label for entity in best.gold}
    return None if missing else chosen
