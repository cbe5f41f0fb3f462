"""How a user's mistake is reported: one line on stderr and exit code 2, never a traceback."""

import os
from collections.abc import Iterable
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
