"""What these tests share: small raw files, the generated corpus as training files, and a module added to a package."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ner_data.answers import load_form
from ner_data.corpus import load_corpus
from support import Result

GOOD = {"demo": '{"text": "甲乙", "label": {"name": {"甲": [[0, 0]]}}}\n', "tcm": "头 O\n晕 B-临床表现\n\n"}


@pytest.fixture
def raw(workplace: Path) -> Callable[..., Path]:
    """Write a folder of raw files: ``raw(train=b"…")``; splits that are not given have one good record."""

    def write(corpus: str = "demo", **files: bytes) -> Path:
        folder = workplace / "raw"
        folder.mkdir(exist_ok=True)
        for split, described in load_corpus(corpus).splits.items():
            (folder / described.file).write_bytes(files.get(split, GOOD[corpus].encode()))
        return folder

    return write


@pytest.fixture
def make_demo(workplace: Path, cli: Callable[..., Result]) -> Callable[..., None]:
    """Run the commands on the generated corpus; all of them by default."""

    def make(*commands: str) -> None:
        for command in commands or ("fetch", "convert", "alpaca"):
            result = cli("ner-data", command, "demo")
            assert result.code == 0, result.err

    return make


@pytest.fixture
def add_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ModuleType, str, str], Path]]:
    """Add a file to one of our packages, as a user does, but for this test only: ``add_module(answers, "lines", …)``."""
    names = []

    def add(package: ModuleType, name: str, source: str) -> Path:
        folder = tmp_path / f"added to {package.__name__}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        names.append(f"{package.__name__}.{name}")
        return path

    load_form.cache_clear()
    yield add
    for name in names:
        sys.modules.pop(name, None)
    load_form.cache_clear()
