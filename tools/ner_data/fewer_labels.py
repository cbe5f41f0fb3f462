"""Training records that ask for some of the labels only, so that a model learns to keep to the labels it is asked for.

What a record has of the other labels makes it a hard negative: it is there, but not part of the answer. There are few
different instructions (`SUBSETS`), so `share_prompt` still computes each once per batch.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ner_common.errors import UserError
from ner_data.described import Corpus, Label
from ner_data.gold import Record
from ner_data.prompt import PromptSpec

SUBSETS = 3


@dataclass(frozen=True, slots=True)
class FewerLabels:
    """Which training records ask for fewer labels, and how.

    Attributes:
        share: of the records.
        seed: of the draw; a record's fate depends on nothing else but its id.
        specs: what is asked instead. Each label is missing from exactly one.
    """

    share: float = 0.0
    seed: int = 0
    specs: tuple[PromptSpec, ...] = ()

    def spec_for(self, record: Record) -> PromptSpec | None:
        """What a record asks instead of all labels, if it is drawn: if possible, without one of the labels it has."""
        if not self.share:
            return None
        draw = random.Random(f"{self.seed} {record.id}")
        if draw.random() >= self.share:
            return None
        hard = [spec for spec in self.specs if any(entity.label not in spec.labels for entity in record.gold)]
        return draw.choice(hard or self.specs)


def fewer_labels(
    corpus: Corpus, share: float, seed: int, spec: Callable[[Sequence[Label]], PromptSpec]
) -> FewerLabels:
    """Draw the sets of labels.

    Args:
        corpus: its labels are divided into `SUBSETS` parts; each set is all but one part.
        share: of the training records that ask for fewer labels; 0: none.
        seed: of the draw.
        spec: the prompt that asks for some labels.

    Raises:
        UserError: the share is out of range, or there are not two labels.
    """
    if not share:
        return FewerLabels()
    if not 0 < share <= 1:
        raise UserError(f"--drop-labels {share}: the share of the training records, above 0 and at most 1")
    if len(corpus.labels) < 2:
        raise UserError(f"{corpus.name}: has one label, so none can be dropped; leave --drop-labels out")
    order = random.Random(seed).sample(corpus.labels, len(corpus.labels))
    parts = [set(order[number::SUBSETS]) for number in range(min(SUBSETS, len(order)))]
    kept = [[label for label in corpus.labels if label not in part] for part in parts]
    return FewerLabels(share, seed, tuple(map(spec, kept)))
