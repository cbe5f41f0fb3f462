"""The writing side of a run's folder. At any moment the process may be killed:

- Answers are appended whole lines at a time and synced to the disk (`os.fdatasync`) before they are counted. One sync
  takes all answers that came in during `GATHER` seconds, in a thread, so the requests never wait for the disk.
- A line that a crash cut off is cut away when the run is continued; its answer had not been counted.
- A complete run is put in gold order by writing the file anew and renaming it.
- The folder is locked while a process writes to it.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ner_data.errors import UserError, one_line, rooted
from ner_data.files import write_atomically
from ner_eval.run import (
    MANIFEST,
    PREDICTIONS,
    Manifest,
    Prediction,
    read_manifest,
    read_predictions,
    split_tail,
    write_manifest,
)

# These may differ when a run is continued: where the model lies, where it is served.
FREE = {"folder", "base_urls"}
# A thread and a sync for every single answer would take a fifth of the CPU time that asking for it takes.
GATHER = 0.5  # seconds


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Make and lock a run's folder. A folder that got no answer is removed again.

    Raises:
        UserError: another process holds the lock.
    """
    run.mkdir(parents=True, exist_ok=True)
    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{rooted(run)}: another process is writing this run; wait, or use another --run"
            ) from None
        for leftover in run.glob(".*.tmp"):  # of a process that was killed while it wrote a file anew
            leftover.unlink()
        try:
            yield
        finally:
            _remove_if_empty(run)
    finally:
        os.close(folder)


def _remove_if_empty(run: Path) -> None:
    predictions = run / PREDICTIONS
    if predictions.exists() and predictions.stat().st_size:
        return
    predictions.unlink(missing_ok=True)
    if {path.name for path in run.iterdir()} <= {MANIFEST}:
        (run / MANIFEST).unlink(missing_ok=True)
        run.rmdir()


def differing_field(stored: Manifest, wanted: Manifest) -> str | None:
    """What forbids to continue a run, in words: the first field that differs and both values."""
    for name in (field.name for field in fields(Manifest) if field.name not in FREE):
        ours, theirs = getattr(wanted, name), getattr(stored, name)
        if name == "tool_versions":  # no answer depends on Python's release
            ours, theirs = ({key: value for key, value in all.items() if key != "python"} for all in (ours, theirs))
        # Not every server's files can be read from everywhere.
        if ours == theirs or (name == "weights" and None in (ours, theirs)):
            continue
        if name == "prompt":
            keys = [f.name for f in fields(ours) if getattr(ours, f.name) != getattr(theirs, f.name)]
            return f"prompt ({', '.join(keys)}): stored {theirs.fingerprint}, asked for {ours.fingerprint}"
        if isinstance(ours, dict):
            key = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
            name, ours, theirs = f"{name}.{key}", ours.get(key), theirs.get(key)
        return f"{name}: stored {one_line(theirs)}, asked for {one_line(ours)}"
    return None


def begin(run: Path, manifest: Manifest, ids: Sequence[str]) -> set[str]:
    """Start or continue a run in its locked folder; the ids that have an answer already.

    Raises:
        UserError: the folder holds a run that asked something else, answers without a manifest, or unknown ids.
    """
    path = run / PREDICTIONS
    if (run / MANIFEST).exists():
        check_same(run, manifest)
    elif path.exists():
        raise UserError(
            f"{rooted(path)}: has no {MANIFEST} beside it, so nobody knows what was asked; use another --run"
        )
    else:
        write_manifest(run, manifest)
    if path.exists():
        _repair(path)
    return stored_ids(run, ids)


def check_same(run: Path, manifest: Manifest) -> None:
    """Raises:
    UserError: the run in the folder asked something else, or another model under the same name.
    """
    if difference := differing_field(read_manifest(run), manifest):
        raise UserError(
            f"{rooted(run / MANIFEST)}: this run differs in {difference}; use another --run, or remove this one"
        )


def stored_ids(run: Path, ids: Sequence[str]) -> set[str]:
    """The ids that have an answer.

    Raises:
        UserError: one of them is not in ``ids``, or the file is broken.
    """
    stored = {prediction.id for prediction in read_predictions(run)}
    if unknown := stored.difference(ids):
        first = min(unknown)
        raise UserError(
            f"{rooted(run / PREDICTIONS)}: {len(unknown)} ids are not of this corpus ({first}); use another --run"
        )
    return stored


def _repair(path: Path) -> None:
    """Cut away a last line that is no whole answer; give one that lacks only its newline the newline."""
    data = path.read_bytes()
    whole, tail = split_tail(data)
    with path.open("r+b") as file:
        if tail:
            file.truncate(len(whole))
        elif whole and not whole.endswith(b"\n"):
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def finish(run: Path, ids: Sequence[str]) -> list[Prediction]:
    """Put a complete run in the order of ``ids``; the predictions in that order."""
    path = run / PREDICTIONS
    by_id = {prediction.id: prediction for prediction in read_predictions(run)}
    ordered = [by_id[id] for id in ids]
    data = b"".join(prediction.as_line() for prediction in ordered)
    if path.read_bytes() != data:
        with write_atomically(path) as file:
            file.write(data.decode())
    return ordered


class Writer:
    """Appends lines to a file; ``counted(n)`` is called when n more are on the disk.

    Use as an async context manager; leaving it writes what is still queued, also after an error or Ctrl-C.
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
            OSError: an earlier one could not be written (the disk is full).
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
