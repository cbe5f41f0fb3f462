"""How a user's mistake is reported: one line on stderr and exit code 2, never a traceback."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


class UserError(Exception):
    """Something the user can mend. The message is one line: file, record, problem, remedy."""


class UserErrors(UserError):
    """Several mistakes found in one pass; printed one line each, the first ``SHOWN`` of them."""

    SHOWN = 20

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(messages)
        hidden = len(self.messages) - self.SHOWN
        lines = self.messages[: self.SHOWN] + ([f"... and {hidden} more"] if hidden > 0 else [])
        super().__init__("\n".join(lines))


def one_line(value: object, width: int = 80) -> str:
    """Show any value on one line of at most ``width`` characters (control characters escaped)."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def rooted(path: Path) -> str:
    """Show a path relative to the current folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def run_cli(main: Callable[[list[str] | None], int | None], program: str) -> Callable[[], None]:
    """Wrap a command's ``main(argv) -> exit code`` so that a user's mistake ends in one line.

    Exit codes: 0 done, 1 the work itself failed a check, 2 a mistake the message explains, 130 interrupted.
    """

    def entry_point() -> None:
        try:
            code = main(None) or 0
        except UserError as error:
            for line in str(error).splitlines():
                print(f"{program}: {line}", file=sys.stderr)
            code = 2
        except OSError as error:
            # A full disk, a read-only folder, a missing file: the operating system's own words say it best.
            where = f": {error.filename}" if error.filename else ""
            print(f"{program}: {error.strerror or error}{where}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            code = 130
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, less) has gone: that is no error of ours, and Python must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(code)

    return entry_point
