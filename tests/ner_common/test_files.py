"""Files and folders are written completely or not at all; reading is strict."""

from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_common.files import json_lines, read_json, read_object, read_text, whole_folder, write_together


def test_files_of_one_step_replace_the_old_ones_together_or_not_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")
    with pytest.raises(ValueError, match="half-way"), write_together() as write:
        with write(one) as file:
            file.write("new")
        with write(two) as file:
            file.write("new")
            raise ValueError("half-way")
    assert one.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["one"]
    with write_together() as write:
        for path in (one, two):
            with write(path) as file:
                file.write("new")
            assert not two.exists() and one.read_text() == "old"
    assert one.read_text() == two.read_text() == "new" and len(list(tmp_path.iterdir())) == 2


def test_a_folder_gets_its_name_only_if_it_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "model"
    (tmp_path / "model.partial-1").mkdir()
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as folder:
        (folder / "config.json").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["model.partial-1"]
    assert "model.partial-1 was left behind by an interrupted run" in capsys.readouterr().err
    with whole_folder(target) as folder:
        (folder / "config.json").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["config.json"]
    with pytest.raises(UserError, match="already exists"), whole_folder(target):
        pass


def test_who_may_read_a_folder_may_read_its_weights(tmp_path: Path) -> None:
    for name, folder_mode, mode in (("open", 0o755, 0o644), ("group", 0o750, 0o640), ("own", 0o700, 0o600)):
        with whole_folder(tmp_path / name) as folder:
            folder.chmod(folder_mode)
            for file in (folder / "model.safetensors", folder / "key.txt"):
                file.touch(0o600)
        assert (tmp_path / name / "model.safetensors").stat().st_mode & 0o777 == mode
        assert (tmp_path / name / "key.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "no such file; do this"),
        (b" \n", "the file is empty; do this"),
        ("林晓\n王五".encode("gb18030"), r":1: not UTF-8 at byte 0; convert .* \(it looks like GBK"),
        (b'"ok"\n\xff\xff', ":2: not UTF-8 at byte 5"),
    ],
)
def test_a_text_that_cannot_be_read_is_one_line(tmp_path: Path, data: bytes | None, problem: str) -> None:
    path = tmp_path / "file.json"
    if data is not None:
        path.write_bytes(data)
    for read in (read_text, read_json, lambda p, remedy: list(json_lines(p, remedy))):
        with pytest.raises(UserError, match=problem) as caught:
            read(path, "do this")
        assert "\n" not in str(caught.value)


def test_json_lines_are_split_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('"a\u2028b"\n\n{"c": 1}\r\n', "utf-8")
    assert list(json_lines(path, "")) == [(1, "a\u2028b"), (3, {"c": 1})]
    path.write_text('1\n{"a": }\n', "utf-8")
    with pytest.raises(UserError, match=r"file.jsonl:2: not JSON .*; fix or remove the line"):
        list(json_lines(path, ""))


def test_a_missing_object_is_empty_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert read_object(path) == {}
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"config\.json: expected object, got array; restore the file"):
        read_object(path)
    path.write_text('{"a": 1}')
    assert read_object(path) == {"a": 1}
    path.write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_object(path)
