"""Hook of the package `llamafactory` itself: runs first, so an untested version is never patched."""

import sys
from types import ModuleType

from llamafactory_ner import TESTED_LLAMAFACTORY
from llamafactory_ner.checks.refusal import stop
from llamafactory_ner.methods import METHODS
from llamafactory_ner.mm_plugin import TorchaudioStandIn


def hook(module: ModuleType) -> None:
    """Check the host's version (exit 2 if it is untested) and install the stand-in for a missing torchaudio."""
    version = getattr(module, "__version__", "unknown")
    if version not in TESTED_LLAMAFACTORY:
        stop(
            f"llamafactory {version} is not one of the tested versions ({', '.join(TESTED_LLAMAFACTORY)}); "
            f"install one of them, or unset AUTOWRAPT_BOOTSTRAP to run without {' and '.join(METHODS)}"
        )
    sys.meta_path.insert(0, TorchaudioStandIn())
