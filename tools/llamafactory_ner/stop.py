"""How the plugin ends a run that cannot work: one line and exit status 2, as `ner_data.errors` does elsewhere."""

import os
import sys
from typing import NoReturn


def stop(message: str) -> NoReturn:
    """Print `message` once (under torchrun only the first local process prints) and end the process with status 2."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"llamafactory_ner: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2)
