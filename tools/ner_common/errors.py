"""User errors: one line on stderr and exit code 2, never a traceback."""

import os
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can fix. The message is one line: file, record, problem, remedy."""


class UserErrors(UserError):
    """Several mistakes found in one pass, printed one per line, at most ``SHOWN`` of them."""

    SHOWN = 20

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(messages)
        hidden = len(self.messages) - self.SHOWN
        lines = self.messages[: self.SHOWN] + ([f"... and {hidden} more"] if hidden > 0 else [])
        super().__init__("\n".join(lines))


def one_line(value: object, width: int = 80) -> str:
    """Any value on one line of at most ``width`` characters, with control characters escaped."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def rooted(path: Path) -> str:
    """A path relative to the current folder if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
