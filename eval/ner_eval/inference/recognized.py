"""From an answer to entities of the text, with their scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from ner_common.errors import one_line
from ner_data.alignment import align
from ner_data.gold import Entity
from ner_data.prompt import PromptSpec
from ner_eval.confidence.tokens import NOT_ALIGNED, Token, certainty, entity_scores
from ner_eval.confidence.trust import Trust
from ner_eval.inference.splitting import Found, Piece

PROBLEMS = 20  # of one answer that are listed
MENTIONS = 100  # that one answer may have in addition to one per character of the text


@dataclass(frozen=True, slots=True)
class Recognized:
    """What a model found in a text.

    Attributes:
        text: the text, as asked.
        entities: sorted by position; offsets are half-open, in characters of ``text``.
        problems: what could not be used: a malformed or truncated answer, a mention that does not occur in
            the text, a label that was not asked for.
        scores: how sure the model was of each of ``entities``, from 0 to 1, if it was asked for and known; else empty.
        dropped: entities that are left out because their scores are lower than wanted.
        certainty: `ner_eval.confidence.tokens.certainty` of the answer, the lowest of several; None: not known.
        error: the server's words if it refused this text or failed on it: then there is no answer, and the empty
            ``entities`` do not mean that the text has none. None if it was answered.
        failed: whether the server failed on this text, and did not refuse it: it may be answered later.
    """

    text: str
    entities: tuple[Entity, ...]
    problems: tuple[str, ...] = ()
    error: str | None = None
    scores: tuple[float, ...] = ()
    dropped: tuple[Entity, ...] = ()
    certainty: float | None = None
    failed: bool = False

    def as_json(self) -> list[dict[str, Any]]:
        """The entities, with their scores if there are any."""
        scores = [{"score": round(score, 4)} for score in self.scores] or [{}] * len(self.entities)
        return [entity.as_json() | score for entity, score in zip(self.entities, scores, strict=True)]

    @property
    def answered(self) -> bool:
        return self.error is None


def read_answer(
    spec: PromptSpec, text: str, answer: str, finish_reason: str, tokens: Sequence[Token] | None = None
) -> Recognized:
    """Read a model's answer to one text: entities sorted by position, each label and span once.

    ``tokens``: those of the answer, to compute scores from; None if there is no need for scores.
    """
    parsed = spec.parse(answer, text)
    problems = [f"answer {problem}" for problem in parsed.problems]
    if finish_reason == "length":
        problems.append("answer truncated by max_tokens")
    # A model or server gone wild may name anything, endlessly.
    most = len(text) + MENTIONS
    mentions = parsed.mentions[:most]
    if len(parsed.mentions) > most:
        problems.append(f"only the first {most} of {len(parsed.mentions)} mentions are read")
    entities = set()
    spans = align(mentions, text)
    for mention, span in zip(mentions, spans, strict=True):
        if mention.label not in spec.labels:
            problems.append(f"unknown label {one_line(mention.label)} ({one_line(mention.text)})")
        elif span is None:
            problems.append(f"not in the text: {one_line(mention.text)} ({mention.label})")
        else:
            entities.add(Entity(span[0], span[1], mention.label, mention.text))
    if len(problems) > PROBLEMS:
        problems[PROBLEMS:] = [f"... and {len(problems) - PROBLEMS} more problems"]
    found = tuple(sorted(entities))
    if not tokens:
        if found and tokens is not None:
            problems.append(NOT_ALIGNED)
        return Recognized(text, found, tuple(problems))
    scores = entity_scores(answer, tokens, mentions, spans)
    own = tuple(scores[entity] for entity in found)
    return Recognized(text, found, tuple(problems), scores=own, certainty=certainty(tokens))


def trusted(found: Recognized, trust: Trust) -> Recognized:
    """The entities with calibrated scores, without those that are not kept."""
    if not found.scores:
        return found
    scored = [(entity, trust.score(raw)) for entity, raw in zip(found.entities, found.scores, strict=True)]
    kept = {entity: score for entity, score in scored if trust.keeps(entity.label, score)}
    dropped = tuple(entity for entity in found.entities if entity not in kept)
    return replace(found, entities=tuple(kept), scores=tuple(kept.values()), dropped=dropped)


def placed(piece: Piece, entities: Sequence[Entity], scores: Sequence[float] = ()) -> Iterator[Found]:
    """Entities of a piece, with their scores if there are any, as those of the whole text, but none of the context.

    A mention is located in context and piece together, which the model has read from left to right: one whose surface
    is in both is taken for the one in the context if the answer names it once. It is not found in the piece then, but
    where the context is a piece.
    """
    for entity, score in zip_longest(entities, scores):
        start = piece.before + entity.start
        if start >= piece.start:
            yield Entity(start, piece.before + entity.end, entity.label, entity.text), score
