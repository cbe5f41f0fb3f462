"""Strict reading of text and JSON; all-or-nothing writing of files and folders."""

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO, TypeVar, cast, overload

from ner_common.decoding import SIZE, NotJSON, decode_json, decode_yaml
from ner_common.errors import UserError, one_line, rooted

T = TypeVar("T")
Opener = Callable[[Path], AbstractContextManager[IO[str]]]


def temporary_of(path: Path) -> Path:
    """Where this process writes what is to replace a file, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def target_of(temporary: str) -> str | None:
    """The name of the file that a file of this name was to replace; None if it is not a temporary file of ours."""
    found = re.fullmatch(r"\.(.+)\.[0-9]+\.tmp", temporary)
    return found[1] if found else None


def remove_leftovers(folder: Path, named: Callable[[str], bool]) -> None:
    """Remove what killed processes left in a folder.

    Args:
        folder: the folder.
        named: whether files of this name are only written under a lock, which the caller holds.
    """
    for path in folder.iterdir():
        if (target := target_of(path.name)) and named(target):
            path.unlink()


@contextmanager
def write_together(mode: int = 0o666) -> Iterator[Opener]:
    """Yield a function that opens UTF-8 text files for writing. They replace old ones only if the block succeeds.

    Each file is first written under a temporary name in the same folder, and all are on disk before the first is
    renamed: after a full disk or an error half-way, the old files are unchanged and there are no new ones. ``mode`` is
    who may read and write them, as far as the umask allows it.
    """
    pending: dict[Path, Path] = {}

    @contextmanager
    def write(path: Path) -> Iterator[IO[str]]:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_of(path)
        pending[temporary] = path
        temporary.touch(mode)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    try:
        yield write
        for temporary, path in pending.items():
            temporary.replace(path)
    except BaseException:
        for temporary in pending:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def write_atomically(path: Path, mode: int = 0o666) -> Iterator[IO[str]]:
    """Open one UTF-8 text file for writing that replaces ``path`` only if the block succeeds; see `write_together`."""
    with write_together(mode) as write, write(path) as file:
        yield file


def below(file: IO[str]) -> BinaryIO:
    """Where the text of a file that `write_together` opened goes, to write bytes instead of text, never both."""
    return cast(TextIO, file).buffer


def check_free(target: Path) -> None:
    """Refuse a target that exists.

    Raises:
        UserError: there is a file, a folder or a dangling link of this name.
    """
    if target.exists() or target.is_symlink():
        raise UserError(f"{rooted(target)}: already exists; remove it or name another folder")


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Make a folder, and those around it; remove those that are still empty if the block fails."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            if any(folder.iterdir()):
                break
            folder.rmdir()
        raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``target`` that gets its name if the block succeeds.

    An error or Ctrl-C leaves nothing behind; a kill leaves a folder with ``.partial-`` in its name, which the next run
    reports.
    """
    check_free(target)
    for left in sorted(target.absolute().parent.glob(f"{target.name}.partial-*")):
        print(f"note: {rooted(left)} was left behind by an interrupted run; delete it", file=sys.stderr)
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        share_weights(partial)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def share_weights(folder: Path) -> None:
    """Let all who may read a folder read the weights below it: safetensors writes them for their owner only."""
    for file in folder.rglob("*.safetensors"):
        with suppress(OSError):  # another user's
            file.chmod(file.stat().st_mode | file.parent.stat().st_mode & 0o444)


def write_json(path: Path, value: Any, *, ascii_only: bool = False, write: Opener = write_atomically) -> None:
    """Write one JSON document (indented, final newline) atomically, or together with others (see `write_together`)."""
    with write(path) as file:
        json.dump(value, file, ensure_ascii=ascii_only, indent=2)
        file.write("\n")


def read_text(path: Path, remedy: str) -> str:
    """Read a UTF-8 file; a byte-order mark is dropped, newlines are kept.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; if it is missing, the message ends with ``remedy``.
    """
    with opened(path, remedy) as file:
        data = file.read()
    if not data.strip():
        raise UserError(f"{rooted(path)}: the file is empty; {remedy}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, line, error.start, data) from None


def opened(path: Path, remedy: str) -> IO[bytes]:
    """Open a file to read its bytes.

    Raises:
        UserError: it is missing, or a folder; the message ends with ``remedy``.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{rooted(path)}: no such file; {remedy}") from None
    except IsADirectoryError:
        raise UserError(f"{rooted(path)}: is a folder, not a file; {remedy}") from None


def _not_utf8(path: Path, line: int, at: int, data: bytes) -> UserError:
    hint = " (it looks like GBK: `iconv -f GB18030 -t UTF-8`)" if is_gbk(data) else ""
    return UserError(f"{rooted(path)}:{line}: not UTF-8 at byte {at}; convert the file to UTF-8{hint}")


def is_gbk(data: bytes) -> bool:
    """Whether some bytes, which are not UTF-8, look like GBK or its superset GB18030."""
    try:
        data.decode("gb18030")
    except UnicodeDecodeError:
        return False
    return True


@overload
def read_json(path: Path, remedy: str) -> Any: ...
@overload
def read_json(path: Path, remedy: str, type: type[T], size: int = SIZE) -> T: ...
def read_json(path: Path, remedy: str, type: Any = Any, size: int = SIZE) -> Any:
    """Read one JSON document of at most ``size`` bytes as a value of ``type`` (see `ner_common.decoding`).

    Raises:
        UserError: see `read_text`; or the text is not JSON, or of another type.
    """
    try:
        return decode_json(read_text(path, remedy), type, size)
    except NotJSON as error:
        raise UserError(f"{rooted(path)}:{error.line}: not JSON ({error}); {remedy}") from None
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; {remedy}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a local file; {} if there is none (a model or adapter may be named by its hub id).

    Raises:
        UserError: see `read_json`.
    """
    return read_json(path, "restore the file", dict[str, Any]) if path.is_file() else {}


def read_yaml(path: Path, remedy: str) -> Any:
    """Read one YAML document (see `ner_common.decoding`).

    Raises:
        UserError: see `read_text`; or the text is not YAML.
    """
    try:
        return decode_yaml(read_text(path, remedy))
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; {remedy}") from None


@overload
def json_lines(path: Path, remedy: str) -> Iterator[tuple[int, Any]]: ...
@overload
def json_lines(path: Path, remedy: str, type: type[T]) -> Iterator[tuple[int, T]]: ...
def json_lines(path: Path, remedy: str, type: Any = Any) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value of ``type``) of a JSON-lines file; blank lines are skipped.

    Raises:
        UserError: see `read_text`; or a line is not JSON, or of another type.
    """
    yield from decode_lines(path, text_lines(path, remedy), remedy, type)


def text_lines(path: Path, remedy: str, tick: Callable[[int], object] = lambda _: None) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of a UTF-8 file, without holding it in memory; see `read_text`.

    Only LF ends a line: U+2028, U+0085 and others are valid inside a JSON string. ``tick`` is called with the bytes
    that were read, about every megabyte.

    Raises:
        UserError: see `read_text`.
    """
    blank, before, told = True, 0, 0
    with opened(path, remedy) as file:
        for number, data in enumerate(file, start=1):
            try:
                line = data.removesuffix(b"\n").decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, before + error.start, data) from None
            before += len(data)
            if before - told > 1 << 20:
                tick(before - told)
                told = before
            blank = blank and not line.strip()
            yield number, line
    tick(before - told)
    if blank:
        raise UserError(f"{rooted(path)}: the file is empty; {remedy}")


def decode_lines(path: Path, lines: Iterable[tuple[int, str]], remedy: str, type: type[T]) -> Iterator[tuple[int, T]]:
    """Yield (number, value) of some numbered lines of a JSON-lines file; raises what `json_lines` raises."""
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield number, decode_json(line, type)
        except NotJSON as error:
            problem = f"not JSON ({error}): {one_line(line, 60)}; fix or remove the line"
            raise UserError(f"{rooted(path)}:{number}: {problem}") from None
        except ValueError as error:
            raise UserError(f"{rooted(path)}:{number}: {error}; {remedy}") from None


@contextmanager
def locked(path: Path, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file or folder (created as a file if there is none); a killed process loses it.

    Args:
        path: what to lock. A file that gets replaced (see `write_together`) needs a lock file of its own.
        busy: what to tell the user if another process holds the lock: the problem and the remedy.
        wait: wait for the other process instead.

    Raises:
        UserError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDONLY) if path.is_dir() else os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"{rooted(path)}: {busy}") from None
        yield
    finally:
        os.close(opened)
