"""The training record in an adapter's folder."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from ner_common.training_record import read_training_record, write_training_record


def test_a_record_says_what_was_trained_when_where_and_with_what(tmp_path: Path) -> None:
    arguments = {"model_name_or_path": "data/nano", "finetuning_type": "lora", "lora_rank": 16}
    write_training_record(tmp_path, "recipes/nano/lora.yaml", arguments, ("numpy", "no-such-package"))
    record = read_training_record(tmp_path)
    assert record is not None
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.pop("started"))
    assert re.search(r"\d+ (cores|x) ", record.pop("hardware"))
    assert record == {
        "recipe": "recipes/nano/lora.yaml",
        "base_model": "data/nano",
        "arguments": arguments,
        "versions": {"numpy": version("numpy")},
    }


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert read_training_record(None) is read_training_record(tmp_path) is None


def test_a_damaged_one_is_reported_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ner_training.json").write_text("{")
    assert read_training_record(tmp_path) is None
    assert "ner_training.json:1: not JSON" in capsys.readouterr().err
