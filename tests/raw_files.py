"""Reading of one raw file by a module of `ner_data.formats`, as tests do it."""

from pathlib import Path
from types import ModuleType

from ner_data.formats import Sample
from ner_data.source import Source


def read(format: ModuleType, path: Path, gold: bool, encoding: str = "utf-8", **options: object) -> list[Sample]:
    """All samples of a file."""
    return list(format.Reader(**options).read(Source(path, encoding), gold))
