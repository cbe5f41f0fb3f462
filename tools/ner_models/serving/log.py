"""What vLLM's log says, read from its end: a log of gigabytes is not loaded, and what it says is escaped."""

import os
import re
from pathlib import Path

from ner_common.errors import printable


def last_line(log: Path) -> str:
    """The last line that says something."""
    return next((line for line in reversed(_lines(log, 4096)) if line), "")


def last_error(log: Path) -> str:
    """The line of a log that best explains a failed start: its last ``…Error: …``, else its last line."""
    # The engine's own error precedes the API server's "Engine core initialization failed", which explains nothing.
    lines = _lines(log, 65536)
    named = [line for line in lines if "Error:" in line and "Engine core initialization failed" not in line]
    return (named[-1] if named else last_line(log))[-300:]


def _lines(log: Path, size: int) -> list[str]:
    """The lines in the last `size` bytes, stripped."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            text = file.read(size).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [printable(line.strip()).replace("\t", " ") for line in re.split(r"[\r\n]", text)]
