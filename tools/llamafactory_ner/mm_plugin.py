"""`llamafactory.data.mm_plugin` imports torchaudio unconditionally, and the CPU environment cannot have it.

The package index's torchaudio is a CUDA build, which fails to import with a CPU torch. Text-only training never uses
it, so an empty module takes its place while `mm_plugin` is being imported, and only then: no other library ever finds
a `torchaudio`.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WANTS_TORCHAUDIO = "llamafactory.data.mm_plugin"


def _no_audio(name: str) -> Any:
    raise AttributeError(f"torchaudio is not installed, so llamafactory cannot read audio here (torchaudio.{name})")


class _WithoutTorchaudio(Loader):
    """The real loader of `mm_plugin`, with an empty `torchaudio` in sys.modules while it runs."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from transformers.utils import is_torchaudio_available

        # transformers caches the answer: asked now, it stays False for everything that mm_plugin imports.
        is_torchaudio_available()
        stand_in = ModuleType("torchaudio", "Empty stand-in of llamafactory_ner.")
        stand_in.__getattr__ = _no_audio  # type: ignore[method-assign]
        sys.modules["torchaudio"] = stand_in
        try:
            self.loader.exec_module(module)
        finally:
            del sys.modules["torchaudio"]


class TorchaudioStandIn(MetaPathFinder):
    """Finds `llamafactory.data.mm_plugin`, and nothing else, if there is no real torchaudio."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != WANTS_TORCHAUDIO or importlib.util.find_spec("torchaudio") is not None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutTorchaudio(spec.loader)
        return spec
