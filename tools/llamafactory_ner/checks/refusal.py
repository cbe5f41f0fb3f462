"""How the plugin ends a run that cannot work: one line and exit status 2, as `ner_common.errors` elsewhere.

Under torchrun only the first local process prints.
"""

import os
import sys
from typing import NoReturn


def stop(message: str) -> NoReturn:
    """Print `message` once and end the process with status 2."""
    _say(message)
    raise SystemExit(2)


def warn(message: str) -> None:
    """Print a warning of one line, once."""
    _say(f"warning: {message}")


def _say(message: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"llamafactory_ner: {message}", file=sys.stderr, flush=True)
