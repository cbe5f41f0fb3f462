"""The file of ``ner-eval extract --output FILE``: a second run continues after the last text in it.

``FILE.manifest.json`` next to it says what was asked of which model; only the same request continues a file.
"""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ner_common.errors import UserError, rooted
from ner_common.files import read_json, write_json


class Identified(Protocol):
    """A text with an id."""

    @property
    def id(self) -> str: ...

    @property
    def text(self) -> str: ...


Text = TypeVar("Text", bound=Identified)


@contextmanager
def open_output(path: Path, asked: Mapping[str, Any]) -> Iterator[int]:
    """Create or continue an output file and lock it; yields the number of texts in it.

    An incomplete last line (after a crash) is removed. A file without any answer is removed again.

    Args:
        path: the output file.
        asked: what determines the answers; None means unknown and matches anything.

    Raises:
        UserError: something else was asked, the file is not one of ours, or another process writes it.
    """
    manifest = path.with_name(f"{path.name}.manifest.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{rooted(path)}: another process is writing it; wait, or name another --output") from None
        try:
            file.seek(0)
            lines = whole = 0
            for line in file:
                if line.endswith(b"\n"):
                    lines, whole = lines + 1, whole + len(line)
            if lines or (file.tell() and not manifest.exists()):
                _check(path, manifest, asked)
            else:
                write_json(manifest, asked)
            file.truncate(whole)
            yield lines
        finally:
            if not path.stat().st_size:
                path.unlink()
                manifest.unlink(missing_ok=True)


def _check(path: Path, manifest: Path, asked: Mapping[str, Any]) -> None:
    if not manifest.exists():
        problem = f"has no {manifest.name} next to it, so what was asked is unknown"
        raise UserError(f"{rooted(path)}: {problem}; name another --output")
    stored = read_json(manifest, "name another --output")
    if not isinstance(stored, dict):
        raise UserError(f"{rooted(manifest)}: is not the manifest of an output file; name another --output")
    for key, ours in asked.items():
        theirs = stored.get(key)
        if ours != theirs and None not in (ours, theirs):
            problem = f"{key}: stored {theirs!r}, asked for {ours!r}"
            raise UserError(f"{rooted(path)}: was written with another {problem}; name another --output")


def remaining(documents: Iterable[Text], path: Path, lines: int) -> Iterator[Text]:
    """Yield the documents after those in the first ``lines`` lines of an output file.

    Raises:
        UserError: the input does not begin with the texts in the file.
    """
    left = iter(documents)
    with path.open("rb") as file:
        for number in range(1, lines + 1):
            document = next(left, None)
            try:
                stored = json.loads(file.readline())
                same = document is not None and (str(stored["id"]), stored["text"]) == (document.id, document.text)
            except (ValueError, RecursionError, KeyError, TypeError):
                same = False
            if not same:
                shown = document.id if document else "the end of the input"
                raise UserError(f"{rooted(path)}:{number}: is not the answer to {shown}; name another --output")
    yield from left
