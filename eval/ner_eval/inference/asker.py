"""A model with its prompt, asked for the entities of texts of any length."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ner_data.prompt import PromptSpec
from ner_eval.confidence.trust import Trust
from ner_eval.inference.client import Client
from ner_eval.inference.failures import RecordFailed, RecordRefused
from ner_eval.inference.recognized import Recognized, placed, read_answer, trusted
from ner_eval.inference.request import ask, sampling
from ner_eval.inference.splitting import Cutting, distinct, joined

Key = TypeVar("Key")


def cutting(spec: PromptSpec, longest: int, context: int, passes: int) -> Cutting:
    """How `Asker` cuts texts.

    Raises:
        UserError: the context is more than half of a piece.
    """
    return Cutting(longest or spec.longest_text, bool(longest) or spec.several_sentences, context, passes)


@dataclass(slots=True)
class Asker:
    """A model with its prompt on an open client, with at most ``concurrency`` requests in flight.

    ``longest``: longer texts are sent in pieces of up to this many characters, as many sentences as fit; 0: of up
    to the prompt spec's ``longest_text``, of one sentence each unless it has ``several_sentences``. ``context``,
    ``passes``: see `ner_eval.inference.splitting.Cutting`.
    ``confidence``: entities get scores; a text some of whose scores are unknown gets none, and says so.
    ``trust``: how the scores are calibrated, and which entities are kept (all whose scores are unknown). With its
    ``samples``, scores are votes: the share of so many answers drawn at random that names the same entity.

    Raises:
        UserError: the context is more than half of a piece.
    """

    client: Client
    model: str
    spec: PromptSpec
    structured: str = "off"
    openai_only: bool = False
    concurrency: int = 64
    longest: int = 0
    context: int = 0
    passes: int = 1
    confidence: bool = False
    trust: Trust = field(default_factory=Trust)
    _free: asyncio.Semaphore = field(init=False)
    _cutting: Cutting = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.concurrency)
        self._cutting = cutting(self.spec, self.longest, self.context, self.passes)

    async def recognize(self, text: str, name: str) -> Recognized:
        """Find the entities of a text of any length; errors refer to it as ``name``.

        If the server refuses one of its pieces, or fails on it, the text comes back as not answered.
        """
        try:
            return await self._recognize(text, name)
        except RecordRefused as error:
            failed = isinstance(error, RecordFailed)
            return Recognized(text, (), (f"no answer: {error}",), str(error), failed=failed)

    async def _recognize(self, text: str, name: str) -> Recognized:
        cut = self._cutting.cut(text)
        pieces = distinct(cut)
        parts = await asyncio.gather(*(self._piece(text[piece.before : piece.end], name) for piece in pieces))
        answered = list(zip(pieces, parts, strict=True))
        in_piece = {piece: list(placed(piece, part.entities, part.scores)) for piece, part in answered}
        found = joined(len(text), ((once, [one for piece in once for one in in_piece[piece]]) for once in cut))
        scores = tuple(score for _, score in found if score is not None)
        dropped = {entity for piece, part in answered for entity, _ in placed(piece, part.dropped)}
        return Recognized(
            text,
            tuple(entity for entity, _ in found),
            tuple(problem for part in parts for problem in part.problems),
            scores=scores if len(scores) == len(found) else (),
            dropped=tuple(sorted(dropped.difference(entity for entity, _ in found))),
            certainty=min((part.certainty for part in parts if part.certainty is not None), default=None),
        )

    async def _piece(self, text: str, name: str) -> Recognized:
        found = await self._asked(text, name)
        if samples := self.trust.samples:
            drawn = await asyncio.gather(*(self._asked(text, name, draw) for draw in range(samples)))
            votes = Counter(entity for one in drawn for entity in one.entities)
            found = replace(found, scores=tuple(votes[entity] / samples for entity in found.entities))
        return trusted(found, self.trust)

    async def _asked(self, text: str, name: str, draw: int | None = None) -> Recognized:
        confidence = self.confidence and not self.trust.samples
        carried = sampling(self.spec, self.structured, self.openai_only, confidence, draw)
        async with self._free:
            reply = await ask(self.client, self.model, self.spec, text, carried, name)
        tokens = reply.tokens if confidence else None
        return read_answer(self.spec, text, reply.answer, reply.finish_reason, tokens)

    async def stream(self, texts: AsyncIterator[tuple[Key, str]]) -> AsyncIterator[tuple[Key, Recognized]]:
        """Answer (key, text) pairs in order, each as soon as it and all before it are answered.

        Input is read only a little ahead of the answers, so an endless stream needs bounded memory. A text that the
        server refuses comes back as not answered; it does not end the stream.
        """
        pending: deque[tuple[Key, asyncio.Task[Recognized]]] = deque()
        reader = asyncio.ensure_future(anext(texts, None))
        ended = False
        try:
            while pending or not ended:
                may_read = not ended and len(pending) < 4 * self.concurrency
                waited: list[asyncio.Future[Any]] = [reader] if may_read else []
                waited += [pending[0][1]] if pending else []
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if may_read and reader.done():
                    # An input error ends the stream too, but only after the answers to what came before it.
                    ended = reader.exception() is not None or reader.result() is None
                    if not ended and (item := reader.result()):
                        pending.append((item[0], asyncio.create_task(self.recognize(item[1], str(item[0])))))
                        reader = asyncio.ensure_future(anext(texts, None))
                while pending and pending[0][1].done():
                    key, task = pending.popleft()
                    yield key, task.result()
            reader.result()
        finally:
            reader.cancel()
            for _, task in pending:
                task.cancel()
            await asyncio.gather(reader, *(task for _, task in pending), return_exceptions=True)
