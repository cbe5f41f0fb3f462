"""Asking a server for the records of a run, many at a time. (`ner_eval.inference.batch_file` asks offline.)"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ner_common.errors import UserError
from ner_data.gold import Record
from ner_eval.inference.client import Client
from ner_eval.inference.failures import RecordFailed, RecordRefused, RequestRefused, ServerUnavailable
from ner_eval.inference.reply import Reply
from ner_eval.inference.request import ask
from ner_eval.inference.shots import SpecFor
from ner_eval.runs.manifest import Manifest
from ner_eval.runs.predictions import PREDICTIONS, Prediction
from ner_eval.runs.writer import Writer

TRIAL = 0.05  # of the patience: how long an answered record gets to show that the server still answers
GRACE = 30.0  # seconds that requests in flight get for their answers when another one has ended the run


async def ask_all(
    client: Client,
    manifest: Manifest,
    records: Sequence[Record],
    stored: Collection[str],
    folder: Path,
    concurrency: int,
    answered: Record | None = None,
    shared: Any = None,
    spec_for: SpecFor | None = None,
) -> None:
    """Ask for the records that are not ``stored``, up to ``concurrency`` at a time, and store their answers.

    A record that the server refuses, or fails on, is stored as refused once it is known that the server answers others
    (``answered``: one that it did): it may refuse every request, or fail on every request from now on. If no other
    answer tells, an answered record is asked again. A ``shared`` progress bar is advanced by the number of records and
    stays open; without one, they get their own. ``spec_for``: what a text is asked with, if not the manifest's prompt.

    Raises:
        UserError: the server refuses every request, or none is available; all answers received are stored.
    """
    answer = partial(_answer, client, manifest, spec_for or (lambda text: manifest.prompt))
    left = deque(record for record in records if record.id not in stored)
    bar = progress(len(records), len(stored)) if shared is None else shared
    if shared is not None:
        shared.update(len(stored))

    refusals: list[RecordRefused] = []
    held: list[bytes] = []  # lines of refusals that may be the server's fault
    silent: dict[str, ServerUnavailable] = {}  # records that were in flight when patience ended
    suspects: set[str] = set()  # those of an earlier time, though the server answered another record then
    done = set(stored)

    async def worker(writer: Writer) -> None:
        nonlocal answered
        while left:
            record = left.popleft()
            try:
                line = (await answer(record)).as_line()
                answered, works = record, True
            except RecordRefused as error:
                refusals.append(error)
                line = Prediction.refused(record.id, str(error)).as_line()
                works = answered is not None and not isinstance(error, RecordFailed)
            except ServerUnavailable as error:
                silent[record.id] = error
                raise
            done.add(record.id)
            held.append(line)
            if works:
                release(writer)

    def release(writer: Writer) -> None:
        for line in held:
            writer.append(line)
        held.clear()

    with bar if shared is None else nullcontext():
        async with Writer(folder / PREDICTIONS, bar.update) as writer:
            while left:
                try:
                    await _until_done([worker(writer) for _ in range(min(concurrency, len(left)))], left.clear)
                except ServerUnavailable:
                    if not answered or not await _still_answers(answer(answered), TRIAL * client.patience):
                        raise
                    for id in suspects & silent.keys():  # twice: it is their fault
                        held.append(Prediction.refused(id, str(silent[id])).as_line())
                        done.add(id)
                    release(writer)
                    suspects.update(silent)
                    silent.clear()
                    left.extend(record for record in records if record.id not in done)
            if held and answered:
                try:
                    await answer(answered)
                    release(writer)
                except RecordRefused as error:
                    refusals = [error]
    if held:
        more = f" (all {len(refusals)} requests were refused)" if len(refusals) > 1 else ""
        raise RequestRefused(f"{refusals[0]}{more}")


def progress(answers: int, stored: int = 0) -> Any:
    """A bar for a number of answers, of which some are stored already."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=answers, initial=stored, unit="answer", smoothing=0.05, file=sys.stderr, mininterval=interval)


async def _still_answers(answer: Awaitable[Prediction], seconds: float) -> bool:
    """Whether the server answers a record in time, as it did before, while others get no answer."""
    try:
        async with asyncio.timeout(seconds):
            await answer
    except (UserError, TimeoutError):
        return False
    return True


async def _answer(client: Client, manifest: Manifest, spec_for: SpecFor, record: Record) -> Prediction:
    spec = spec_for(record.text)
    return prediction_of(record.id, await ask(client, manifest.model, spec, record.text, manifest.sampling, record.id))


def prediction_of(id: str, reply: Reply) -> Prediction:
    """A reply as it is stored."""
    counts = (reply.prompt_tokens, reply.completion_tokens, reply.seconds)
    return Prediction(id, reply.answer, reply.finish_reason, *counts, tokens=reply.tokens or ())


async def _until_done(workers: Iterable[Coroutine[Any, Any, None]], stop: Callable[[], None]) -> None:
    """Run workers; if one fails, ``stop`` keeps the others from going on, and what they have in flight is awaited."""
    tasks = [asyncio.create_task(worker) for worker in workers]
    try:
        if not tasks:
            return
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((error for task in done if (error := task.exception())), None)
        if failed:
            stop()
            # If no server answers, or the disk is full, there is nothing to wait for.
            if pending and isinstance(failed, RequestRefused):
                await asyncio.wait(pending, timeout=GRACE)
            raise failed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
