"""A disk that fills up while `ner-data` writes: old files stay unchanged, and there are no new ones."""

import errno
import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from ner_data import demo
from support import Result, one_line_error

Cli = Callable[..., Result]


def fill_disk(context: pytest.MonkeyPatch, stage: str, number: int) -> None:
    """Fill the disk at the ``number``-th file written: half-way through its text, or at its fsync."""
    files = itertools.count(1)
    real_open, real_fsync = Path.open, os.fsync

    def no_space() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(self: Path, mode: str = "r", *args: Any, **options: Any) -> IO[Any]:
        file: Any = real_open(self, mode, *args, **options)
        if "w" in mode and next(files) == number:
            # Text reaches the disk through the bytes below it, as everything that is written as bytes.
            below = file.buffer

            def half(data: bytes) -> None:
                type(below).write(below, data[: len(data) // 2])
                type(below).flush(below)
                no_space()

            below.write = half
        return file  # type: ignore[no-any-return]

    def synced(descriptor: int) -> None:
        if next(files) == number:
            no_space()
        real_fsync(descriptor)

    if stage == "write":
        context.setattr(Path, "open", opened)
    else:
        context.setattr(os, "fsync", synced)


LEXICON = functools.cache(demo.lexicon)  # takes seconds, and the disk is filled many times


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", ["write", "fsync"])
@pytest.mark.parametrize(("command", "files"), [("fetch", 3), ("convert", 3), ("alpaca", 5)])
def test_a_disk_that_fills_at_any_file_leaves_every_old_one_and_no_other(
    workplace: Path,
    cli: Cli,
    raw: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    files: int,
    stage: str,
) -> None:
    # Each command has written its files once, and its input has changed since.
    Path("data/raw").mkdir()
    raw().rename("data/raw/demo")
    monkeypatch.setattr(demo, "SIZES", {"train": 2, "dev": 1, "test": 1})
    monkeypatch.setattr(demo, "lexicon", LEXICON)
    for earlier in ("convert", "alpaca"):
        assert cli("ner-data", earlier, "demo").code == 0
    changed = '{"text": "甲乙丙", "label": {"name": {"甲": [[0, 0]]}}}\n'.encode()
    raw(train=changed, dev=changed, test=changed).rename("data/raw/new")
    if command == "alpaca":
        assert cli("ner-data", "convert", "demo", "--raw", "data/raw/new").code == 0
        Path("data/alpaca/dataset_info.json").write_text('{"mine": {}}')
    arguments = ["--raw", "data/raw/new"] if command == "convert" else []
    before = tree(workplace)
    for number in range(1, files + 1):
        with monkeypatch.context() as context:
            fill_disk(context, stage, number)
            assert "No space left on device" in one_line_error(cli("ner-data", command, "demo", *arguments))
        assert tree(workplace) == before
    with monkeypatch.context() as context:
        fill_disk(context, stage, files + 1)
        assert cli("ner-data", command, "demo", *arguments).code == 0
    after = tree(workplace)
    assert after.keys() == before.keys()
    assert sum(after[path] != before[path] for path in after) == files
