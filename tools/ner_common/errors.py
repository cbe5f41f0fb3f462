"""User errors: one line on stderr and exit code 2, never a traceback."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A mistake that the user can fix. The message is one line: file, record, problem, remedy."""


class UserErrors(UserError):
    """Several mistakes found in one pass, printed one per line, at most ``SHOWN`` of them."""

    SHOWN = 20

    def __init__(self, messages: Iterable[str], count: int = 0) -> None:
        """``count``: how many mistakes there are, if the messages are only the first of them."""
        self.messages = list(messages)
        hidden = max(len(self.messages), count) - self.SHOWN
        lines = self.messages[: self.SHOWN] + ([f"... and {hidden} more"] if hidden > 0 else [])
        super().__init__("\n".join(lines))


def one_line(value: object, width: int = 80) -> str:
    """Any value on one line of at most ``width`` characters, with control characters escaped."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def escaped(text: str, width: int = 80) -> str:
    """A text as `one_line` shows it, without the quotes: a name or another's words as a part of a line."""
    return one_line(text, width)[1:-1]


def counted(counts: Counter[str]) -> str:
    """Counts by reason, the most frequent first: ``no tag 3; unknown label 1``."""
    return "; ".join(f"{reason} {count}" for reason, count in counts.most_common())


# Control characters but newline and tab; line separators; bidirectional controls; lone surrogates.
_RANGES = (
    (0x00, 0x08),
    (0x0B, 0x1F),
    (0x7F, 0x9F),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2066, 0x2069),
    (0xD800, 0xDFFF),
)
_UNSAFE = {code: f"\\u{code:04x}" for first, last in _RANGES for code in range(first, last + 1)}


def printable(text: str) -> str:
    """A text that a terminal only shows: control characters, bidirectional controls and the like as ``\\u001b``.

    Inside a JSON string the escapes mean the same characters, so JSON lines stay JSON.
    """
    return text.translate(_UNSAFE)


def is_plain(text: str) -> bool:
    """Whether a text is one line, without tabs, that a terminal only shows."""
    return printable(text) == text and "\n" not in text and "\t" not in text


def rooted(path: Path) -> str:
    """A path for a message: on one line, and relative to the current folder if that is shorter."""
    relative = os.path.relpath(path)
    return printable(min(relative, str(path), key=len)).replace("\n", "\\n")
