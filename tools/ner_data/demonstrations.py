"""Records of the training split that a prompt shows with their answers.

`draw` takes some at random, so that every label occurs; `Nearest` finds those most like one text.
"""

import random
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from math import ceil

from ner_common.errors import UserError, escaped
from ner_data.described import Corpus
from ner_data.gold import Record
from ner_data.near_duplicates import bigrams


def able(train: Iterable[Record], elsewhere: Collection[str]) -> list[Record]:
    """The records that have gold, and a text that is not ``elsewhere``."""
    return [record for record in train if record.entities is not None and record.text not in elsewhere]


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
    records = able(gold["train"], held_out)
    labels = {label.id for label in corpus.labels}
    texts = len({record.text for record in records})
    if texts <= count:
        raise UserError(
            f"{corpus.name}: {count} demonstrations leave nothing to train on: its training split has "
            f"{len(records)} records that no other split has; ask for fewer"
        )
    if unseen := labels - {entity.label for record in records for entity in record.gold}:
        names = ", ".join(escaped(label) for label in sorted(unseen))
        raise UserError(
            f"{corpus.name}: no record of its training split can show {names}, and drawn demonstrations show every "
            "label; ask for none"
        )
    drawn = random.Random(seed).sample(records, len(records))
    if chosen := _choose(drawn, labels, count):
        return chosen
    larger = range(count + 1, min(len(labels) + 1, texts))
    enough = next((more for more in larger if _choose(drawn, labels, more)), None)
    remedy = f"ask for {enough} or more" if enough else "nor can more, with some left to train on; ask for none"
    raise UserError(f"{corpus.name}: {count} demonstrations cannot show its {len(labels)} labels; {remedy}")


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


class Nearest:
    """Finds the records whose texts are most like a text: by the Jaccard index of their sets of character bigrams.

    An inverted index, of 4 bytes for each bigram of each record: a text is compared with those that share one.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        import numpy as np

        first: dict[str, Record] = {}
        for record in records:
            first.setdefault(record.text, record)
        self._records = list(first.values())
        numbers: dict[str, array[int]] = defaultdict(lambda: array("i"))
        sizes = []
        for number, record in enumerate(self._records):
            pairs = bigrams(record.text)
            sizes.append(len(pairs))
            for pair in pairs:
                numbers[pair].append(number)
        self._sizes = np.array(sizes, dtype=np.int64)
        self._numbers = {pair: np.frombuffer(found, dtype=np.intc) for pair, found in numbers.items()}

    def __len__(self) -> int:
        """How many different texts there are."""
        return len(self._records)

    def __call__(self, text: str, count: int) -> list[Record]:
        """The ``count`` records that are most like a text, the most similar last; of equals, the first ones."""
        import numpy as np

        pairs = bigrams(text)
        found = [np.empty(0, dtype=np.intc), *(self._numbers[pair] for pair in pairs if pair in self._numbers)]
        shared = np.bincount(np.concatenate(found), minlength=len(self))
        alike = shared / (self._sizes + len(pairs) - shared)
        nearest = np.argsort(-alike, kind="stable")[:count]
        return [self._records[number] for number in nearest[::-1].tolist()]
