"""What tests share: paths, and how a program's end is checked."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


class Result(NamedTuple):
    """What a program left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def one_line_error(result: Result) -> str:
    """Check that a program ended as it should on a user's mistake, and return its message."""
    assert result.code == 2, result
    assert "Traceback" not in result.err
    lines = result.err.strip().split("\n")
    assert len(lines) == 1, result.err
    return lines[0]
