import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.prompt import PromptSpec
from ner_eval.runs.manifest import Manifest, read_manifest, run_folder, write_manifest
from ner_eval.runs.predictions import Prediction, read_predictions
from ner_eval.runs.writer import Writer

SPEC = PromptSpec("demo", "你是专家。", "请抽取。", ("name", "company"), "json_list", 64)


def manifest(**changed: object) -> Manifest:
    fields = {
        "version": 1,
        "model": "nano-lora",
        "base_urls": ("http://127.0.0.1:8000/v1",),
        "corpus": "demo",
        "split": "test",
        "gold": "data/gold/demo/test.jsonl",
        "gold_sha256": "0" * 64,
        "prompt": SPEC,
        "sampling": {"temperature": 0},
        "selection": {"limit": None},
        "tool_versions": {"python": "3.11"},
    }
    return Manifest(**{**fields, **changed})  # type: ignore[arg-type]


def prediction(number: int, answer: str = "[]") -> Prediction:
    return Prediction(f"demo-test-{number}", answer, "stop", 10, 2, 0.5)


def test_a_manifest_comes_back_as_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()


def test_predictions_come_back_as_written(tmp_path: Path) -> None:
    stored = [prediction(1, '[{"label":"name"}]'), prediction(2, "\x00\u2028中"), prediction(3, "")]
    (tmp_path / "predictions.jsonl").write_bytes(b"".join(p.as_line() for p in stored))
    assert read_predictions(tmp_path) == stored


def test_lone_surrogates_of_older_files_are_read_as_the_replacement_character(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_bytes(prediction(1, "a\ud800中").as_line())
    assert read_predictions(tmp_path) == [prediction(1, "a\ufffd中")]


def test_a_run_without_predictions_has_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) == []


def test_a_last_line_cut_off_anywhere_is_skipped_or_complete(tmp_path: Path) -> None:
    first, second = prediction(1).as_line(), prediction(2, "中文").as_line()
    for cut in range(len(second) + 1):
        (tmp_path / "predictions.jsonl").write_bytes(first + second[:cut])
        whole = cut >= len(second) - 1
        assert read_predictions(tmp_path) == [prediction(1), prediction(2, "中文")][: 2 if whole else 1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{\n", "1: not a prediction"),
        (b"[]\n", "1: not a prediction"),
        (b'{"id": "x"}\n', "1: not a prediction"),
        (prediction(1).as_line().replace(b"10", b'"10"'), "prompt_tokens: expected int, got str"),
        (prediction(1).as_line().replace(b"[]", b"\xff"), "1: not a prediction"),
        (b"[" * 100_000 + b"\n", "1: not a prediction"),
        (prediction(1).as_line() * 2, "2: duplicate id demo-test-1, also in line 1"),
    ],
)
def test_a_bad_line_is_a_one_line_error(tmp_path: Path, line: bytes, problem: str) -> None:
    (tmp_path / "predictions.jsonl").write_bytes(line + prediction(9).as_line())
    with pytest.raises(UserError, match=problem) as caught:
        read_predictions(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "has version 2, this program reads version 1"),
        ({"model": None}, "model: expected str, got null"),
        ({"surprise": 1}, "is not the manifest"),
        ({"prompt": 5}, "is not the manifest"),
    ],
)
def test_another_manifest_is_refused(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    value = {**manifest().as_json(), **change}
    (tmp_path / "manifest.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        read_manifest(tmp_path)


def test_an_edited_prompt_is_noticed(tmp_path: Path) -> None:
    value = manifest().as_json()
    value["prompt"]["system"] = "另一个。"
    (tmp_path / "manifest.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(UserError, match="a prompt that was edited"):
        read_manifest(tmp_path)


def test_a_missing_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ner-eval predict"):
        read_manifest(tmp_path)


def test_a_run_is_given_by_name_or_path() -> None:
    assert run_folder("x") == Path("runs/x")
    assert run_folder("/somewhere/x") == Path("/somewhere/x")


def test_an_answer_is_synced_to_the_disk_before_it_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "predictions.jsonl"
    real = os.fdatasync
    synced, total = 0, 0  # bytes, answers

    def slow_sync(file: int) -> None:
        nonlocal synced
        size = os.fstat(file).st_size
        time.sleep(0.05)
        real(file)
        synced = size

    def counted(more: int) -> None:
        nonlocal total
        total += more
        on_disk = path.read_bytes()[:synced]
        assert on_disk.startswith(b"".join(prediction(n).as_line() for n in range(total)))

    async def write() -> None:
        async with Writer(path, counted) as writer:
            for number in range(50):
                writer.append(prediction(number).as_line())
                await asyncio.sleep(0.01)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    monkeypatch.setattr("ner_eval.runs.writer.GATHER", 0.1)
    asyncio.run(write())
    assert total == 50
    assert read_predictions(tmp_path) == [prediction(n) for n in range(50)]


@pytest.mark.parametrize("changed", [{"model": "\udcff"}, {"folder": "a\nb"}, {"corpus": "../x"}])
def test_a_manifest_that_could_not_be_read_back_is_not_written(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_manifest(tmp_path, manifest(**changed))
    assert not list(tmp_path.iterdir())
