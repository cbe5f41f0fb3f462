"""From a request to its results: ask, keep what is wanted, end in time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ner_common.errors import one_line
from ner_eval.confidence.tokens import NO_LOGPROBS
from ner_eval.inference.failures import RequestRefused, ServerUnavailable
from ner_eval.inference.recognized import Recognized
from ner_eval.inference.splitting import most_context
from ner_eval.service.failures import HUNG_UP, Failed
from ner_eval.service.messages import Broken, Extract, Found, Result
from ner_eval.service.models import Model

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
NO_SCORES = "scores: the engine has none; leave scores and threshold out"
AWAY = 5  # seconds that clients are told to wait while no engine answers


def check_wanted(model: Model, request: Extract) -> None:
    """Raises:
    Failed: 422: the model was not trained for one of the labels, or takes less context.
    """
    if unknown := [label for label in request.labels or () if label not in model.spec.labels]:
        known = ", ".join(model.spec.labels)
        raise Failed(422, f"labels: {model.name} has no label {one_line(unknown[0])}; it has {known}")
    if request.context > (most := most_context(model.spec.longest_text)):
        raise Failed(422, f"context: {model.name} takes at most {most} characters before a piece")


async def results(model: Model, request: Extract) -> AsyncGenerator[Result, None]:
    """The results in the order of the texts, each as soon as it and all before it are there.

    Raises:
        Failed: 422: scores were asked for, and the engine has none; 503: no engine answers, or they refuse every
            request.
    """
    asker = model.asker(request)
    with _as_failures():
        if len(wanted := request.wanted) == 1:  # without the queue of a batch
            ((id, text),) = wanted
            yield _result(request, id, await asker.recognize(text, f"text {id}"))
            return
        async with aclosing(asker.stream(_each(wanted))) as stream:  # type: ignore[type-var]
            async for id, found in stream:
                yield _result(request, id, found)


async def _each(wanted: list[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
    for pair in wanted:
        yield pair


def _result(request: Extract, id: str, found: Recognized) -> Result:
    """Raises:
    Failed: 422: the engine refuses to be asked for scores.
    """
    if found.error is not None:
        if request.scored and "logprob" in found.error.lower():  # other engines leave them out of their answers
            raise Failed(422, NO_SCORES)
        kind = Broken if found.failed else Result
        return kind(id, None, [f"no answer: {_without_address(found.error)}"])
    entities = []
    scores: list[float | None] = [round(score, 4) for score in found.scores] or [None] * len(found.entities)
    for entity, score in zip(found.entities, scores, strict=True):
        wanted = request.labels is None or entity.label in request.labels
        if wanted and (request.threshold is None or score is None or score >= request.threshold):
            own = {} if score is None else {"score": score}
            entities.append(Found(entity.start, entity.end, entity.label, entity.text, **own))
    return Result(id, entities, list(found.problems))


@contextmanager
def _as_failures() -> Iterator[None]:
    try:
        yield
    except ServerUnavailable:
        raise Failed(503, "no engine answers; try again later", AWAY) from None
    except RequestRefused as error:
        if NO_LOGPROBS in str(error):
            raise Failed(422, NO_SCORES) from None
        raise Failed(503, f"the engine refuses all requests: {_without_address(str(error))}") from None


def _without_address(problem: str) -> str:
    """A problem that `Client` reports, without the engine's address, which is not for clients."""
    return problem.partition(": ")[2] or problem


async def in_time(http: "Request", work: Awaitable[T], seconds: float) -> T:
    """Wait for ``work``, which is cancelled, and with it what the engines do for it, when nobody waits any longer.

    Raises:
        Failed: 504: it has taken ``seconds``; `HUNG_UP`: the client has closed the connection.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(http))
    try:
        await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Failed(HUNG_UP, "the client hung up") if gone.done() else late(seconds)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def late(seconds: float) -> Failed:
    return Failed(504, f"no answer within {seconds:g} s; send fewer or shorter texts, or allow more time")


async def _hung_up(http: "Request") -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
