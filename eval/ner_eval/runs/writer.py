"""Crash-safe appending to a file, and the lock on a run's folder.

Complete lines are appended and synced to the disk (`os.fdatasync`) before they are counted. One sync covers all lines
that came in during `GATHER` seconds, in a thread, so requests never wait for the disk.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import locked, target_of
from ner_eval.runs.manifest import MANIFEST
from ner_eval.runs.predictions import PREDICTIONS

# The files of a run that are replaced as a whole: only under its lock, and without it.
LOCKED = {"manifest.json", "predictions.jsonl", "batch-requests.jsonl"}
UNLOCKED = {"scores.json", "report.html", "report.md", "f1.png"}
GATHER = 0.5  # seconds; a thread and a sync for every single answer would cost too much CPU time


@contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Create and lock a run's folder; it is removed again if it was created here and holds no answer.

    Raises:
        UserError: another process holds the lock; or there is something else of that name, which stays as it is.
    """
    created = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file, a device, a dangling link
        raise UserError(f"{rooted(run)}: is not a folder; use another --run") from None
    with locked(run, "another process is writing this run; wait, or use another --run"):
        _check_ours(run)
        _remove_leftovers(run)
        try:
            yield
        finally:
            _remove_if_empty(run, created)


def _check_ours(run: Path) -> None:
    """Refuse a folder that is neither a run nor empty: what is in it belongs to somebody else."""
    others = [path.name for path in run.iterdir() if path.name != PREDICTIONS and _target(path.name) is None]
    if others and not (run / MANIFEST).is_file():
        what = (
            f"{one_line(min(others), 60)} and {len(others) - 1} more" if len(others) > 1 else one_line(others[0], 60)
        )
        raise UserError(f"{rooted(run)}: is not a run (no {MANIFEST}), and not empty ({what}); use another --run")


def _remove_leftovers(run: Path) -> None:
    """Remove the temporary files of processes that were killed while they rewrote a file of the run.

    Those of files that are written without the lock (scores, reports) may be in use; after an hour they are not.
    """
    for path in run.iterdir():
        target = _target(path.name)
        if target in LOCKED or (target and time.time() - path.lstat().st_mtime > 3600):
            path.unlink()


def _target(temporary: str) -> str | None:
    """The file of a run that a file of this name was to replace; None if it has another name.

    Earlier versions left out the process: ``.f1.png.tmp``.
    """
    without = temporary[1:-4] if temporary.startswith(".") and temporary.endswith(".tmp") else None
    return next((name for name in (target_of(temporary), without) if name in LOCKED | UNLOCKED), None)


def _remove_if_empty(run: Path, created: bool) -> None:
    predictions = run / PREDICTIONS
    if predictions.exists() and predictions.stat().st_size:
        return
    predictions.unlink(missing_ok=True)
    if {path.name for path in run.iterdir()} <= {MANIFEST}:
        (run / MANIFEST).unlink(missing_ok=True)
        if created:
            run.rmdir()


class Writer:
    """Appends lines to a file; ``counted(n)`` is called when n more are on the disk.

    Use as an async context manager; on exit it writes what is queued, also after an error or Ctrl-C.
    """

    def __init__(self, path: Path, counted: Callable[[int], Any]) -> None:
        self._counted = counted
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closing = asyncio.Event()
        self._path = path
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put_nowait(None)
        self._closing.set()
        try:
            await self._task
        finally:
            os.close(self._file)

    def append(self, line: bytes) -> None:
        """Queue a line (with its newline).

        Raises:
            OSError: an earlier line could not be written (the disk is full).
        """
        if self._task.done():
            self._task.result()
        self._queue.put_nowait(line)

    async def _write_all(self) -> None:
        done = False
        while not done:
            lines = [await self._queue.get()]
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), GATHER)
            while not self._queue.empty():
                lines.append(self._queue.get_nowait())
            done = lines[-1] is None
            whole = [line for line in lines if line is not None]
            if whole:
                await asyncio.to_thread(self._sync, b"".join(whole))
                self._counted(len(whole))

    def _sync(self, data: bytes) -> None:
        try:
            while data:  # a full disk may take a part and refuse the rest
                data = data[os.write(self._file, data) :]
            os.fdatasync(self._file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, rooted(self._path)) from None
