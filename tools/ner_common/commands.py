"""Command-line programs: one module per command, and every user error reported in one line."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TextIO, TypeVar

from ner_common import __version__
from ner_common.errors import UserError, printable

Number = TypeVar("Number", int, float)


def program(name: str, description: str, commands: Mapping[str, tuple[str, str]]) -> Callable[[], None]:
    """Build the entry point of a program.

    Args:
        name: what users type.
        description: one line for ``--help``.
        commands: command -> (module, one line of help). A module has ``add_arguments(parser)`` and
            ``run(args) -> int | None``, and imports heavy libraries only inside functions.

    Exit codes: 0 success, 1 completed with a bad result, 2 an error explained by the message, 130 interrupted.
    """

    def entry_point() -> None:
        with safe_terminal():
            raise SystemExit(exit_code())

    def exit_code() -> int:
        try:
            code = _run(name, description, commands)
            sys.stdout.flush()
            return code
        except UserError as error:
            for line in str(error).splitlines():
                print(f"{name}: {line}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            # The reader (head, less) has closed the pipe: not an error, and Python must not complain at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            # A full disk, a read-only folder, a missing file: the operating system's message is the clearest.
            where = f": {error.filename}" if error.filename else ""
            print(f"{name}: {error.strerror or error}{where}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            return 130

    return entry_point


def _run(name: str, description: str, commands: Mapping[str, tuple[str, str]]) -> int:
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, (module, text) in commands.items():
        own = subparsers.add_parser(command, help=text, description=text)
        if sys.argv[1:2] == [command]:  # the modules of others take a second to import
            import_module(module).add_arguments(own)
    args, words = parser.parse_known_args()
    # argparse takes key=value only directly after the other words, not after an option (python/cpython#58399).
    if any("=" not in word or word.startswith("-") for word in words) or (words and "overrides" not in args):
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    if words:
        args.overrides = [*args.overrides, *words]
    return import_module(commands[args.command][0]).run(args) or 0


class Terminal:
    """A standard stream that shows what strangers wrote (ids, labels, a server's words) and obeys none of it.

    See `printable`. What our own programs and progress bars need passes: colours, cursor movements as a write of their
    own, and a carriage return at the start of a write.
    """

    _OURS = re.compile(r"\A(?:\r|(?:\x1b\[A)+\Z)|\x1b\[(?:[027]|32|(?:30|97);(?:4|10)[0-7])m")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        parts, at = [], 0
        for ours in self._OURS.finditer(text):
            parts += [printable(text[at : ours.start()]), ours[0]]
            at = ours.end()
        self._stream.write("".join([*parts, printable(text[at:])]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_terminal() -> Iterator[None]:
    """Print through `Terminal` inside the block."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Terminal(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def tell(line: str) -> None:
    """Print a line on stderr above the progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """An argparse type: a number above zero."""

    def number(text: str) -> Number:
        value = kind(text)
        if not value > 0:
            raise ValueError
        return value

    number.__name__ = f"positive {kind.__name__}"
    return number
