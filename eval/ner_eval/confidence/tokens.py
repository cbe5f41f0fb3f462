"""The score of a mention: the probability that the model gave to the tokens that name it.

An answer's tokens come with their log-probabilities, each given the prompt and all tokens before it. The score of a
mention is ``exp(sum of log p)`` over the tokens that hold a byte of what names it (``Mention.written``: its surface
and its label): by the chain rule, the probability of this name at this place, given everything before. It is not
divided by the number of tokens: the mean of a long name's copied characters, nearly all of them certain, hides the one
token at which it was decided where the mention starts, ends or what it is.

Where several mentions of an answer are one entity (same label and span), the entity has the best of their scores.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, inf, isfinite
from typing import Any

import msgspec

from ner_common.decoding import convert
from ner_data.alignment import Span
from ner_data.gold import Entity, Mention

NO_LOGPROBS = (
    "the server sends no log-probabilities (logprobs) with its answers, from which scores are computed; "
    "leave --confidence out, or ask a server that has them, such as vLLM"
)
NOT_ALIGNED = "no scores: the tokens of the answer do not add up to its text"
SLACK = 1e-3  # rounding may put a log-probability a little above 0
Token = tuple[int, float]  # number of bytes, log-probability


class _Piece(msgspec.Struct):
    token: str
    logprob: float | None = None
    bytes: list[int] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Piece] | None = None


def tokens_of(logprobs: Any, answer: str, ended: bool) -> tuple[Token, ...] | None:
    """The tokens of an answer, from ``choices[].logprobs`` of a chat completion.

    Args:
        logprobs: ``{"content": [{"token": "林", "logprob": -0.1, "bytes": [230, 158, 151]}, ...]}``. A token may hold
            a part of a character, and without ``bytes`` its text is taken.
        ended: the answer is complete; then the last token may be the one that ended it, which is no part of it.

    Returns:
        Bytes and log-probability of each token; together they are the answer in UTF-8. Empty if they are not, or a
        number is none; None if the server sent none.
    """
    try:
        pieces = convert(logprobs, _Logprobs).content
        parts = [_content(piece) for piece in pieces or ()]
    except ValueError:
        return None if logprobs is None else ()
    if pieces is None:
        return None
    wanted = answer.encode(errors="replace")
    if b"".join(parts) != wanted:
        if not (ended and parts and b"".join(parts[:-1]) == wanted):
            return ()
        pieces, parts = pieces[:-1], parts[:-1]
    numbers = [piece.logprob for piece in pieces]
    if not all(number is not None and isfinite(number) and number <= SLACK for number in numbers):
        return ()
    # More digits would only make stored answers larger.
    return tuple((len(part), min(round(number or 0.0, 6), 0.0)) for part, number in zip(parts, numbers, strict=True))


def _content(piece: _Piece) -> bytes:
    return piece.token.encode(errors="replace") if piece.bytes is None else bytes(piece.bytes)


class Scorer:
    """Scores of the mentions of one answer, from its tokens."""

    def __init__(self, answer: str, tokens: Sequence[Token]) -> None:
        self._logprobs: list[float] = []
        self._ends: list[int] = []  # of the tokens, in bytes
        waiting, end = 0.0, 0
        for size, logprob in tokens:
            waiting += logprob
            end += size
            if size:  # vLLM gives a character's bytes to the last of the tokens that make it
                self._logprobs.append(waiting)
                self._ends.append(end)
                waiting = 0.0
        self._bytes = [0, *accumulate(len(char.encode(errors="replace")) for char in answer)]

    def score(self, mention: Mention) -> float:
        """The probability of what names a mention; 0 if nothing does (an item that lacks label and surface)."""
        used: set[int] = set()
        for start, end in mention.written:
            first = bisect_right(self._ends, self._bytes[start])
            used.update(range(first, bisect_left(self._ends, self._bytes[end]) + 1))
        return exp(sum(self._logprobs[token] for token in used)) if used else 0.0


def certainty(tokens: Sequence[Token]) -> float:
    """How sure the model was of a whole answer, to rank texts by: the mean log-probability of its tokens.

    The mean, because in the sum long answers look uncertain ("maximum normalized log-probability": Shen et al., Deep
    Active Learning for Named Entity Recognition, 2018). Of an answer without known tokens nothing is sure: -inf.
    """
    return sum(logprob for _, logprob in tokens) / len(tokens) if tokens else -inf


def entity_scores(
    answer: str, tokens: Sequence[Token], mentions: Sequence[Mention], spans: Sequence[Span | None]
) -> dict[Entity, float]:
    """The score of each entity that an answer names, from 0 to 1; mentions without a span are left out."""
    scorer = Scorer(answer, tokens)
    scores: dict[Entity, float] = {}
    for mention, span in zip(mentions, spans, strict=True):
        if span is not None:
            entity = Entity(*span, mention.label, mention.text)
            scores[entity] = max(scores.get(entity, 0.0), scorer.score(mention))
    return scores
