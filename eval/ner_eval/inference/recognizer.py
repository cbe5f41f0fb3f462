"""Texts in, entities out, from a served model::

from ner_eval import Recognizer
recognizer = Recognizer("http://127.0.0.1:8000/v1", "nano-lora-demo")
recognizer.predict(["林晓在云帆科技任经理"])    # [[Entity(start=0, end=2, label='name', text='林晓'), ...]]
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ner_common.errors import one_line
from ner_data.gold import Entity
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_eval.confidence.trust import Trust, Wanted, trust_in
from ner_eval.inference.asker import Asker
from ner_eval.inference.client import Connection, run_async
from ner_eval.inference.failures import RecordRefused, ServerUnavailable
from ner_eval.inference.recognized import Recognized
from ner_eval.inference.request import MODES
from ner_eval.inference.served_model import choose_prompt, find_model

INTERRUPT = 0.1  # seconds until an interrupt inside a running loop is noticed
T = TypeVar("T")


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
        threshold: keep only entities with a score of at least that, and those whose scores are unknown.
        precision: keep entities from the score on from which that share was right on the held-out records, which
            needs a calibration; with ``per_label``, from one for each label.

    Raises:
        ValueError: an argument is out of its range.
        UserError (when asked): no server answers, it does not serve the model, or it fails; there is no prompt spec,
            or no calibration that a precision needs.
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
    threshold: float | None = None
    precision: float | None = None
    per_label: bool = False

    def __post_init__(self) -> None:
        self._connection()
        self._wanted()
        for name, least in (("context", 0), ("passes", 1)):
            if type(value := getattr(self, name)) is not int or value < least:
                raise ValueError(f"{name} must be a whole number from {least}, not {one_line(value)}")
        if self.structured not in MODES:
            raise ValueError(f"structured must be {' or '.join(MODES)}, not {one_line(self.structured)}")

    def _connection(self) -> Connection:
        urls = [self.base_url] if isinstance(self.base_url, str) else self.base_url
        return Connection(urls, self.api_key, self.timeout, self.patience, 0, self.concurrency)

    def _wanted(self) -> Wanted:
        return Wanted(self.threshold, self.precision, self.per_label)

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
            trust, wanted = Trust(), self._wanted()
            if confidence := self.confidence or wanted.cuts:
                trust = trust_in(folder, spec.fingerprint, wanted, structured=self.structured)
            asker = Asker(
                client, self.model, spec, self.structured, concurrency=self.concurrency,
                context=self.context, passes=self.passes, confidence=confidence, trust=trust,
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
        task.result() if task in found else Recognized(text, (), (f"no answer: {failed}",), str(failed), failed=True)
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
