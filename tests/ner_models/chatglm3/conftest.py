"""A small original checkpoint to convert, and the conversion of one that must be refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chatglm_support import train_tokenizer, write_checkpoint
from support import Result, one_line_error

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture
def source(tmp_path: Path, tokenizer: Path) -> Path:
    write_checkpoint(tmp_path / "src", tokenizer)
    return tmp_path / "src"


@pytest.fixture
def refused(cli: Cli, source: Path, tmp_path: Path) -> Callable[[], str]:
    """Convert a source that must be refused: one line, and nothing written."""

    def run() -> str:
        before = sorted(tmp_path.iterdir())
        message = one_line_error(cli("ner-model", "convert-chatglm3", source, tmp_path / "dst"))
        assert sorted(tmp_path.iterdir()) == before
        return message

    return run
