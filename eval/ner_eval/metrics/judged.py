"""The scored entities of a run, each of them right or wrong by gold."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_data.gold import Entity
from ner_eval.confidence.curves import Judged
from ner_eval.confidence.tokens import entity_scores
from ner_eval.confidence.trust import Trust, Wanted, trust_in
from ner_eval.metrics.loaded_run import Answered, LoadedRun
from ner_eval.runs.manifest import Manifest


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """The entities of a run as `ner-eval extract` returns them: each once, in the text, with a label asked for.

    Attributes:
        raw: with the model's own scores; ``judged``: with those that ``trust`` makes of them.
        records: the number of each entity's record.
        gold: number of gold entities of the records that count.
        unscored: number of answers with mentions but without scores; neither they nor their gold count.
        cuts: whether a threshold was asked for.
    """

    raw: list[Judged]
    records: list[int]
    gold: int
    unscored: int
    trust: Trust
    cuts: bool

    @property
    def judged(self) -> list[Judged]:
        return [one._replace(score=self.trust.score(one.score)) for one in self.raw]

    @property
    def kept(self) -> list[Judged]:
        return [one for one in self.judged if self.trust.keeps(one.label, one.score)]


def judge(run: LoadedRun, wanted: Wanted | None = None, *, calibrated: bool = True) -> JudgedRun | None:
    """Judge a run's entities; None if it did not ask for what scores are computed from.

    A calibration in the model's folder that does not fit the run is not used, and a note says so.

    Raises:
        UserError: it did not, or there is no calibration that fits it, though ``wanted`` needs that.
    """
    manifest = run.manifest
    if not manifest.sampling.get("logprobs"):
        if wanted:
            raise UserError(f"{rooted(run.folder)}: has no scores; predict with --confidence into another --run")
        return None
    raw: list[Judged] = []
    records: list[int] = []
    gold = unscored = 0
    for number, item in enumerate(run.answered):
        if item.parsed.mentions and not item.tokens:
            unscored += 1
            continue
        right = set(item.record.gold)
        gold += len(right)
        found = scored(item, manifest.prompt.labels)
        raw += (Judged(entity.label, score, entity in right) for entity, score in found.items())
        records += [number] * len(found)
    wanted = wanted or Wanted()
    trust = trust_of(manifest, wanted) if calibrated else Trust()
    return JudgedRun(raw, records, gold, unscored, trust, wanted.cuts)


def trust_of(manifest: Manifest, wanted: Wanted) -> Trust:
    """How far the scores of a run can be trusted; a calibration that does not fit is named in a note, and not used."""
    folder = Path(manifest.folder) if manifest.folder else None
    structured = str(manifest.sampling.get("structured"))
    try:
        return trust_in(folder, manifest.prompt.fingerprint, wanted, structured=structured, weights=manifest.weights)
    except UserError as error:
        if wanted.precision is not None:
            raise
        print(f"note: {error}; the scores of this run are not calibrated", file=sys.stderr)
        return Trust(threshold=wanted.threshold or 0.0)


def scored(item: Answered, labels: tuple[str, ...]) -> dict[Entity, float]:
    """The entities of an answer whose tokens are known, with the model's own scores."""
    scores = entity_scores(item.answer, item.tokens, item.parsed.mentions, item.spans)
    return {entity: score for entity, score in scores.items() if entity.label in labels}


def by_votes(run: LoadedRun, drawn: Sequence[LoadedRun]) -> list[Judged]:
    """The entities of ``judge(run).raw``, in the same order, scored by the share of other runs that name them too.

    Args:
        drawn: runs of answers to the same records, drawn at random.
    """
    named: Counter[tuple[str, Entity]] = Counter()
    for other in drawn:
        named.update({(item.record.id, entity) for item in other.answered for entity in _entities(item)})
    return [
        Judged(entity.label, named[item.record.id, entity] / len(drawn), entity in set(item.record.gold))
        for item in run.answered
        if item.tokens
        for entity in scored(item, run.manifest.prompt.labels)
    ]


def _entities(item: Answered) -> Iterator[Entity]:
    for mention, span in zip(item.parsed.mentions, item.spans, strict=True):
        if span is not None:
            yield Entity(*span, mention.label, mention.text)
