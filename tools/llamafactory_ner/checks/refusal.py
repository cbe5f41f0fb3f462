"""How the plugin stops a run that cannot work: one line and exit status 2, like our own programs.

Under torchrun only the first local process prints.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from llamafactory_ner.progress import emit
from ner_common.errors import UserError, printable


def stop(message: str) -> NoReturn:
    """Print `message` once and exit with status 2."""
    _say(message, refused=message)
    raise SystemExit(2)


@contextmanager
def user_errors_in_one_line() -> Iterator[None]:
    """Call `stop` on what a user can fix, such as broken JSON in an adapter's folder, or a full disk."""
    try:
        yield
    except UserError as error:
        stop("; ".join(str(error).splitlines()))
    except OSError as error:
        stop(f"{error.filename}: {error.strerror or error}" if error.filename else str(error.strerror or error))


def warn(message: str) -> None:
    """Print a one-line warning, once."""
    _say(f"warning: {message}", say=f"warning: {message}")


def note(message: str) -> None:
    """Print a line that is no warning, once."""
    _say(message, say=message)


def _say(message: str, **event: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        emit(**event)
        print(printable(f"llamafactory_ner: {' '.join(message.splitlines())}"), file=sys.stderr, flush=True)
