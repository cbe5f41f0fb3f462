"""The file of ``ner-eval extract --output FILE``: a second run continues after the last text in it.

``FILE.manifest.json`` next to it says what was asked of which model; only the same request continues a file. A line::

    {"id": "a.txt:1", "text": "林晓在云帆", "entities": [{"start": 0, "end": 2, ...}], "problems": []}

A text that the server refused has ``"entities": null``, and the reason among its problems.
"""

import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import msgspec

from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_json, remove_leftovers, temporary_of, write_json
from ner_eval.runs.writer import Writer

LINES = {"", ".jsonl", ".ndjson", ".json", ".txt", ".out"}
REPLACE = 30.0  # seconds; new answers to refused texts are stored that often, because each time rewrites the file
OTHER = "name another --output"
HEAD = b'{"id": '  # how every line begins


class Identified(Protocol):
    """A text with an id."""

    @property
    def id(self) -> str: ...

    @property
    def text(self) -> str: ...


Text = TypeVar("Text", bound=Identified)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest: what determines the answers. None means unknown and matches anything."""

    model: str
    weights: str | None
    prompt: str
    structured: str
    longest: int
    # Earlier versions always packed sentences, and had neither context nor passes.
    packed: bool = True
    context: int = 0
    passes: int = 1
    confidence: str = ""  # how scores were computed (`ner_eval.confidence.trust.Trust`); empty: none
    labels: tuple[str, ...] | None = None  # earlier versions did not write them

    @property
    def voted(self) -> bool:
        """Whether scores are votes of drawn answers, without log-probabilities."""
        return self.confidence.startswith("votes of ")


class _Line(msgspec.Struct):
    """What continuing a file needs of a line; a text has fields of its own."""

    id: Any
    text: str
    entities: list[Any] | None
    problems: list[str]

    @property
    def refused(self) -> bool:
        # Earlier versions wrote an empty list of entities.
        return self.entities is None or any(problem.startswith("no answer: ") for problem in self.problems)


@dataclass(slots=True)
class Output:
    """A locked output file.

    Attributes:
        path: the file.
        lines: number of texts in it.
        refused: which of them (from 0) the server refused.
    """

    path: Path
    lines: int = 0
    refused: list[int] = field(default_factory=list)
    _file: int = -1
    _created: bool = False

    def remaining(self, documents: Iterable[Text], again: Set[int]) -> Iterator[Text]:
        """Yield the texts to ask: those at the positions ``again``, and those after the last one in the file.

        Raises:
            UserError: the input does not begin with the texts in the file.
        """
        left = iter(documents)
        with self.path.open("rb") as file:
            for place in range(self.lines):
                document = next(left, None)
                try:
                    stored = decode_json(file.readline(), _Line)
                    same = document is not None and (str(stored.id), stored.text) == (document.id, document.text)
                except ValueError:
                    same = False
                if document is None or not same:
                    text = escaped(document.id) if document else "the end of the input"
                    raise UserError(f"{rooted(self.path)}:{place + 1}: is not the answer to {text}; {OTHER}")
                if place in again:
                    yield document
        yield from left

    def replace(self, lines: Mapping[int, bytes]) -> None:
        """Replace lines by their positions; a kill or a full disk leaves the old ones."""
        if not lines:
            return
        temporary = temporary_of(self.path)
        opened = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)  # before it gets its name: a file under this name is always locked
            os.fchmod(opened, stat.S_IMODE(os.fstat(self._file).st_mode))
            with self.path.open("rb") as old, os.fdopen(os.dup(opened), "wb") as new:
                for place, line in enumerate(old):
                    new.write(lines.get(place, line))
                new.flush()
                os.fsync(new.fileno())
            temporary.replace(self.path)
        except BaseException:
            os.close(opened)
            temporary.unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file = opened


class Store:
    """Stores lines in the order of the input: first in place of refused ones, then at the end of the file.

    Use as an async context manager; on exit all lines are in the file, also after an error or Ctrl-C.
    """

    def __init__(self, output: Output, again: Sequence[int]) -> None:
        from tqdm import tqdm

        self._output, self._again = output, iter(again)
        self._new: dict[int, bytes] = {}
        self._replaced = time.monotonic()
        self._bar = tqdm(initial=output.lines - len(again), unit="text", file=sys.stderr)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._stack.enter_context(self._bar)
        self._writer: Writer | None = None
        return self

    async def __aexit__(self, *raised: Any) -> None:
        async with self._stack:
            self._replace()

    async def add(self, line: bytes) -> None:
        if (place := next(self._again, None)) is not None:
            self._new[place] = line
            self._bar.update(1)
            if time.monotonic() > self._replaced + REPLACE:
                self._replace()
            return
        if not self._writer:
            self._replace()
            self._writer = await self._stack.enter_async_context(Writer(self._output.path, self._bar.update))
        self._writer.append(line)

    def _replace(self) -> None:
        self._output.replace(self._new)
        self._new.clear()
        self._replaced = time.monotonic()


def manifest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.manifest.json")


@contextmanager
def open_output(path: Path, asked: Asked) -> Iterator[Output]:
    """Create or continue an output file and lock it.

    An incomplete last line (after a crash) is removed. Files that were created here are removed again if no answer
    came; nothing else is ever removed.

    Raises:
        UserError: something else was asked, the file or its manifest is not one of ours or not a regular file, or
            another process writes it.
    """
    if not path.name or path.name == "..":
        raise UserError(f"--output {rooted(path)}: is a folder, not a file; {OTHER}")
    if path.suffix.lower() not in LINES:
        raise UserError(f"{rooted(path)}: the output is JSON lines, not {path.suffix}; name it .jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(path)
    output = _locked(path)
    wrote = False
    try:
        _check_regular(manifest, OTHER)
        stored = _read_manifest(manifest) if _exists(manifest) else None
        if os.fstat(output._file).st_size and not stored:
            problem = f"has no {manifest.name} next to it, so what was asked is unknown"
            raise UserError(f"{rooted(path)}: {problem}; {OTHER}")
        whole = _read_lines(output)
        if output.lines and stored:
            _check_same(path, stored, asked)
        elif stored != asked:
            wrote = stored is None
            write_json(manifest, msgspec.structs.asdict(asked))
        os.ftruncate(output._file, whole)
        remove_leftovers(path.parent, {path.name, manifest.name}.__contains__)
        yield output
    finally:
        if not os.fstat(output._file).st_size and _is_at(path, output._file):
            if wrote:
                manifest.unlink(missing_ok=True)
            if output._created:
                path.unlink()
        os.close(output._file)


def _locked(path: Path) -> Output:
    for _ in range(100):
        _check_regular(path, "leave --output out to print the lines, or name a regular file")
        created = not _exists(path)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(path, flags | (os.O_CREAT | os.O_EXCL if created else 0), 0o644)
        except (FileExistsError, FileNotFoundError):
            continue  # another process was faster
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise UserError(f"{rooted(path)}: another process is writing it; wait, or {OTHER}") from None
        # The process that had the lock may have removed or replaced the file in the meantime.
        if stat.S_ISREG(os.fstat(file).st_mode) and _is_at(path, file):
            return Output(path, _file=file, _created=created)
        os.close(file)
    raise UserError(f"{rooted(path)}: other processes keep creating and removing it; {OTHER}")


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _is_at(path: Path, file: int) -> bool:
    """Whether the open file has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _check_regular(path: Path, remedy: str) -> None:
    """Raises:
    UserError: there is something of this name that is not a regular file.
    """
    if not _exists(path) or stat.S_ISREG(mode := path.lstat().st_mode):
        return
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
    kinds |= {stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    raise UserError(f"{rooted(path)}: is {kinds.get(stat.S_IFMT(mode), 'not a regular file')}; {remedy}")


def _read_lines(output: Output) -> int:
    """Count the complete lines, note which texts were refused, and return the size of these lines in bytes."""
    whole = 0
    with output.path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                if not (line.startswith(HEAD) or HEAD.startswith(line)):
                    raise UserError(f"{rooted(output.path)}: does not end with a line of ours; {OTHER}")
                break
            # Only lines that could be refused are decoded: a file may hold millions.
            if (b'"entities": null' in line or b'"no answer: ' in line) and _is_refused(line):
                output.refused.append(output.lines)
            output.lines += 1
            whole += len(line)
    return whole


def _is_refused(line: bytes) -> bool:
    try:
        return decode_json(line, _Line).refused
    except ValueError:
        return False  # `remaining` compares every line with the input


def _read_manifest(manifest: Path) -> Asked:
    try:
        return read_json(manifest, OTHER, Asked)
    except UserError as error:
        raise UserError(f"{error} (it is not the manifest of an output file)") from None


def _check_same(path: Path, stored: Asked, asked: Asked) -> None:
    for key, ours in msgspec.structs.asdict(asked).items():
        theirs = getattr(stored, key)
        if ours != theirs and None not in (ours, theirs):
            problem = f"{key}: stored {one_line(theirs)}, asked for {one_line(ours)}"
            raise UserError(f"{rooted(path)}: was written with another {problem}; {OTHER}")
