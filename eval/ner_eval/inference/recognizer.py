"""Texts in, entities out, from a served model::

from ner_eval import Recognizer
recognizer = Recognizer("http://127.0.0.1:8000/v1", "nano-lora-demo")
recognizer.predict(["林晓在云帆科技任经理"])    # [[Entity(start=0, end=2, label='name', text='林晓'), ...]]
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from ner_common.errors import one_line
from ner_data.alignment import align
from ner_data.gold import Entity
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.confidence.tokens import NO_LOGPROBS, NOT_ALIGNED, Token, entity_scores
from ner_eval.confidence.trust import Trust, trust_in
from ner_eval.inference.client import Client, Connection, run_async
from ner_eval.inference.failures import RecordRefused, RequestRefused, ServerUnavailable, shown
from ner_eval.inference.request import MODES, fault, request_body, sampling
from ner_eval.inference.served_model import choose_prompt, find_model
from ner_eval.inference.splitting import Cutting, Found, Piece, distinct, joined

PROBLEMS = 20  # of one answer that are listed
INTERRUPT = 0.1  # seconds until an interrupt inside a running loop is noticed
MENTIONS = 100  # that one answer may have in addition to one per character of the text
Key = TypeVar("Key")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recognized:
    """What a model found in a text.

    Attributes:
        text: the text, as asked.
        entities: sorted by position; offsets are half-open, in characters of ``text``.
        problems: what could not be used: a malformed or truncated answer, a mention that does not occur in
            the text, a label that was not asked for.
        scores: how sure the model was of each of ``entities``, from 0 to 1, if it was asked for and known; else empty.
        dropped: how many entities with lower scores than wanted are left out.
        error: the server's words if it refused this text or failed on it: then there is no answer, and the empty
            ``entities`` do not mean that the text has none. None if it was answered.
    """

    text: str
    entities: tuple[Entity, ...]
    problems: tuple[str, ...] = ()
    error: str | None = None
    scores: tuple[float, ...] = ()
    dropped: int = 0

    def as_json(self) -> list[dict[str, Any]]:
        """The entities, with their scores if there are any."""
        scores = [{"score": round(score, 4)} for score in self.scores] or [{}] * len(self.entities)
        return [entity.as_json() | score for entity, score in zip(self.entities, scores, strict=True)]

    @property
    def answered(self) -> bool:
        return self.error is None


class TextsRefused(RecordRefused):
    """A server refused some of the texts; ``results`` holds what `Recognizer.recognize` returns for all of them."""

    def __init__(self, results: list[Recognized]) -> None:
        self.results = results
        refused = [number for number, result in enumerate(results) if not result.answered]
        numbers = ", ".join(map(str, refused[:10])) + (", ..." if len(refused) > 10 else "")
        super().__init__(
            f"{len(refused)} of {len(results)} texts got no answer: number {numbers} (counted from 0); the first: "
            f"{results[refused[0]].error}; recognize() returns the answers to the others"
        )


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
        missing = [NOT_ALIGNED] if found and tokens is not None else []
        return Recognized(text, found, (*problems, *missing))
    scores = entity_scores(answer, tokens, mentions, spans)
    return Recognized(text, found, tuple(problems), scores=tuple(scores[entity] for entity in found))


def trusted(found: Recognized, trust: Trust) -> Recognized:
    """The entities with calibrated scores, without those that are not kept."""
    if not found.scores:
        return found
    scored = [(entity, trust.score(raw)) for entity, raw in zip(found.entities, found.scores, strict=True)]
    kept = [(entity, score) for entity, score in scored if trust.keeps(entity.label, score)]
    entities, scores = tuple(entity for entity, _ in kept), tuple(score for _, score in kept)
    return replace(found, entities=entities, scores=scores, dropped=len(scored) - len(kept))


def placed(piece: Piece, part: Recognized) -> Iterator[Found]:
    """What was found in a piece, as entities of the whole text; none that begins in the context.

    A mention is located in context and piece together, which the model has read from left to right: one whose surface
    is in both is taken for the one in the context if the answer names it once. It is not found in the piece then, but
    where the context is a piece.
    """
    for entity, score in zip_longest(part.entities, part.scores):
        start = piece.before + entity.start
        if start >= piece.start:
            yield Entity(start, piece.before + entity.end, entity.label, entity.text), score


def cutting(spec: PromptSpec, longest: int, context: int, passes: int) -> Cutting:
    """How `Asker` cuts texts.

    Raises:
        UserError: the context is more than half of a piece.
    """
    return Cutting(longest or spec.longest_text, bool(longest), context, passes)


@dataclass(slots=True)
class Asker:
    """A model with its prompt on an open client, with at most ``concurrency`` requests in flight.

    ``longest``: longer texts are sent in pieces of up to this many characters, as many sentences as fit; 0: sentence
    by sentence, if they are longer than the prompt spec's ``longest_text``. ``context``, ``passes``: see
    `ner_eval.inference.splitting.Cutting`.
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

        If the server refuses one of its pieces, the text comes back as not answered.
        """
        try:
            return await self._recognize(text, name)
        except RecordRefused as error:
            return Recognized(text, (), (f"no answer: {error}",), str(error))

    async def _recognize(self, text: str, name: str) -> Recognized:
        cut = self._cutting.cut(text)
        pieces = distinct(cut)
        parts = await asyncio.gather(*(self._piece(text[piece.before : piece.end], name) for piece in pieces))
        in_piece = {piece: list(placed(piece, part)) for piece, part in zip(pieces, parts, strict=True)}
        found = joined(len(text), ((once, [one for piece in once for one in in_piece[piece]]) for once in cut))
        scores = tuple(score for _, score in found if score is not None)
        return Recognized(
            text,
            tuple(entity for entity, _ in found),
            tuple(problem for part in parts for problem in part.problems),
            scores=scores if len(scores) == len(found) else (),
            dropped=sum(part.dropped for part in parts),
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
        body = request_body(self.model, self.spec, text, carried)
        async with self._free:
            reply = await self.client.ask(body, name)
        if problem := fault(self.structured, self.spec, text, reply.answer, reply.finish_reason):
            raise RequestRefused(f"{shown(name)}: {problem}")
        if confidence and reply.tokens is None:
            raise RequestRefused(f"{shown(name)}: {NO_LOGPROBS}")
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


@dataclass(frozen=True)
class Recognizer:
    """Texts in, entities out, from a served model.

    Attributes:
        base_url: a server, or several that serve the same model; requests that fail on one go to another.
        prompt: the prompt spec, its file or the adapter's folder; by default ``ner_prompt.json`` in the folder that
            the server serves the model from, if that can be read here.
        timeout, patience: seconds, see `ner_eval.inference.client.Connection`.
        structured: off, json or grammar.
        context, passes: for texts longer than those of the training, see `Asker`.
        confidence: whether `recognize` also returns scores; calibrated if the folder of the prompt, or the one that
            the server serves the model from, has a calibration (`ner-eval calibrate`).

    Raises:
        ValueError: an argument is out of its range.
        UserError (when asked): no server answers, it does not serve the model, or it fails; there is no prompt spec.
    """

    base_url: str | Sequence[str]
    model: str
    prompt: PromptSpec | Path | str | None = None
    api_key: str | None = None
    concurrency: int = 64
    timeout: float = 300.0
    patience: float = 60.0
    structured: str = "off"
    context: int = 0
    passes: int = 1
    confidence: bool = False

    def __post_init__(self) -> None:
        self._connection()
        for name, least in (("context", 0), ("passes", 1)):
            if type(value := getattr(self, name)) is not int or value < least:
                raise ValueError(f"{name} must be a whole number from {least}, not {one_line(value)}")
        if self.structured not in MODES:
            raise ValueError(f"structured must be {' or '.join(MODES)}, not {one_line(self.structured)}")

    def _connection(self) -> Connection:
        urls = [self.base_url] if isinstance(self.base_url, str) else self.base_url
        return Connection(urls, self.api_key, self.timeout, self.patience, 0, self.concurrency)

    def predict(self, texts: Iterable[str]) -> list[list[Entity]]:
        """The entities of every text, with offsets into it (half-open, in characters), sorted by position.

        Raises:
            TextsRefused: the server refused some texts; raised after the others are answered, with all results.
        """
        results = self.recognize(texts)
        if not all(result.answered for result in results):
            raise TextsRefused(results)
        return [list(result.entities) for result in results]

    def recognize(self, texts: Iterable[str]) -> list[Recognized]:
        """Like `predict`, with the problems of each text; one that the server refuses comes back with its error.

        Raises:
            TypeError: ``texts`` is a string (put it into a list), or holds something else.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, not one string: put it into a list")
        # Iterating over a mapping or a table would give its keys or column names.
        if isinstance(texts, Mapping) or hasattr(texts, "columns") or not isinstance(texts, Iterable):
            kind = type(texts).__name__
            raise TypeError(
                f"texts must be a list of strings, not a {kind}: name the texts in it, as df['text'].tolist()"
            )
        texts = list(texts)
        if wrong := [number for number, text in enumerate(texts) if not isinstance(text, str)]:
            raise TypeError(f"texts must be strings, but number {wrong[0]} is {one_line(texts[wrong[0]])}")
        work = self._recognize(texts)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run_async(work)
        # A notebook already runs an event loop, and a second one cannot run inside it.
        return _in_thread(work)

    async def _recognize(self, texts: list[str]) -> list[Recognized]:
        async with self._connection().client(notice=lambda line: None) as client:
            served = await find_model(client, self.model, wait=0)
            spec, folder = self.prompt, served.folder
            if not isinstance(spec, PromptSpec):
                path = Path(spec) if spec else None
                if path and path.is_dir():
                    folder, path = path, path / FILE_NAME
                spec = choose_prompt(path, served.folder, None, (), False)
            trust = Trust()
            if self.confidence:
                trust = trust_in(folder, spec.fingerprint, structured=self.structured)
            asker = Asker(
                client, self.model, spec, self.structured, concurrency=self.concurrency,
                context=self.context, passes=self.passes, confidence=self.confidence, trust=trust,
            )  # fmt: skip
            tasks = [asyncio.create_task(asker.recognize(text, f"text {n}")) for n, text in enumerate(texts)]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                return _results(texts, tasks)
            finally:
                for task in tasks:
                    task.cancel()


def _results(texts: Sequence[str], tasks: Sequence["asyncio.Task[Recognized]"]) -> list[Recognized]:
    """What tasks have found, one for each text; after a failure, the others come back as not answered.

    Raises:
        UserError: the failure, if it is one of all requests.
    """
    done = [task for task in tasks if task.done() and not task.cancelled()]
    failed = next((error for task in done if (error := task.exception())), None)
    answered = any(not task.exception() and task.result().answered for task in done)
    if failed and not (isinstance(failed, ServerUnavailable) and answered):
        raise failed
    found = {task for task in done if not task.exception()}
    return [
        task.result() if task in found else Recognized(text, (), (f"no answer: {failed}",), str(failed))
        for text, task in zip(texts, tasks, strict=True)
    ]


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of another thread; an interrupt of this thread cancels it and does not wait for it."""
    started: Future[Callable[[], object]] = Future()

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        started.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await task

    def cancellations() -> int:
        return sum(task.cancelling() for task in asyncio.all_tasks())

    before = cancellations()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run_async, cancellable())
        try:
            while not wait([result], INTERRUPT).done:
                # `asyncio.run` cancels its main task at the first Ctrl-C instead of raising KeyboardInterrupt.
                if cancellations() > before:
                    raise asyncio.CancelledError
        except BaseException:
            if not result.done():
                started.result()()
            raise
        return result.result()
