"""Files of ours that a stranger edited or damaged: each edit gives what the file says, or one line of error."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edited import edits
from ner_common.decoding import NotJSON, decode_json
from ner_common.errors import UserError
from ner_data.gold import Record
from ner_data.prompt import PromptSpec
from ner_eval.benchmarks import HEAD, page
from ner_eval.inference.batch_file import read_results
from ner_eval.metrics import bootstrap
from ner_eval.metrics.scores_file import read_scores
from ner_eval.publish import table
from ner_eval.published import all_results
from ner_eval.runs.manifest import read_manifest
from ner_eval.runs.predictions import Prediction, read_predictions
from support import ROOT

PREVIOUS = ROOT / "tests/previous"
RUN = PREVIOUS / "run"
Read = Callable[[Path], Any]


def sampled(value: Any, every: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """One in ``every`` of the edits of a document, for tests that take seconds."""
    return (
        (what, new) for n, (what, new) in enumerate(edits(value, random.Random(seed))) if n % every == seed % every
    )


def written(value: Any) -> str:
    return json.dumps(value)  # ASCII, so that lone surrogates can be written


def understood(value: Any) -> Any:
    """What the text of a value says to our reader (a lone surrogate is U+FFFD); None if it is not JSON for us."""
    try:
        return decode_json(written(value))
    except NotJSON:
        return None


def outcome(read: Callable[[], Any], what: str) -> tuple[Any, str]:
    """What is read, or the error; anything but one line of `UserError` fails the test."""
    try:
        return read(), ""
    except UserError as error:
        message = str(error)
        assert "\n" not in message and 10 < len(message) < 1000, (what, message)
        return None, message


def check(path: Path, original: Any, every: int, read: Read, again: Callable[[Any], Any]) -> tuple[int, int]:
    """Write every edit to ``path`` and read it; ``again(read value)`` must be what the file says.

    Returns:
        The number of edits, and of those that were refused.
    """
    tried = refused = 0
    for what, new in sampled(original, every):
        path.write_text(written(new), encoding="utf-8")
        value, error = outcome(lambda: read(path), what)
        tried += 1
        refused += bool(error)
        if not error:
            assert again(value) == understood(new), what
    return tried, refused


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_manifests(tmp_path: Path, every: int) -> None:
    value = {**load(RUN / "manifest.json"), "started": "2026-11-24", "hardware": "2 cores", "training": {"epochs": 1}}

    def again(manifest: Any) -> Any:
        stored = understood(load(tmp_path / "manifest.json"))
        read = as_json(manifest.as_json())
        # Fields with a default may be missing.
        return {k: v for k, v in read.items() if k in stored or v is not None} | {
            "prompt": {k: v for k, v in read["prompt"].items() if k in stored["prompt"]}
        }

    tried, refused = check(tmp_path / "manifest.json", value, every, lambda path: read_manifest(path.parent), again)
    assert tried >= 714 * 2 / every and refused > tried / 2


@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_scores(tmp_path: Path, every: int) -> None:
    value = load(RUN / "scores.json")
    for reading in value["readings"].values():
        del reading["modes_by_label"]  # of earlier versions; not read

    def again(scores: Any) -> Any:
        scores.save(tmp_path / "again.json")
        read = load(tmp_path / "again.json")
        stored = load(tmp_path / "scores.json")
        if "intervals" not in stored:
            del read["intervals"]
        assert all(not count for name, count in read["answers"].items() if name not in stored["answers"])
        read["answers"] = {k: v for k, v in read["answers"].items() if k in stored["answers"]}
        return read

    tried, refused = check(tmp_path / "scores.json", value, every, read_scores, again)
    assert tried >= 1072 * 4 / every and refused > tried / 2


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_prompt_specs(tmp_path: Path, every: int) -> None:
    def again(spec: PromptSpec) -> Any:
        stored = load(tmp_path / "spec.json")
        return {k: v for k, v in as_json(spec.as_json()).items() if k in stored}

    value = load(PREVIOUS / "lora/ner_prompt.json")
    tried, refused = check(tmp_path / "spec.json", value, every, PromptSpec.load, again)
    assert tried >= 35 and refused > tried / 2


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_predictions(tmp_path: Path, every: int) -> None:
    path = tmp_path / "predictions.jsonl"
    good = Prediction("good", "[]", "stop", 1, 1, 0.1)
    tried = refused = 0
    for line in (Prediction("x", '[{"text":"林"}]', "stop", 9, 3, 0.5), Prediction.refused("x", "HTTP 400: too long")):
        for what, new in sampled(json.loads(line.as_line()), every):
            path.write_text(f"{written(new)}\n{good.as_line().decode()}", encoding="utf-8")
            found, error = outcome(lambda: read_predictions(tmp_path), what)
            tried += 1
            refused += bool(error)
            # As decoded: UTF-8 has no lone surrogates.
            assert error or json.loads(found[0].as_line()) == decode_json(written(new)) or found == [good], what
    assert tried >= 400 / every and refused > tried / 2


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_batch_results(tmp_path: Path, every: int) -> None:
    path = tmp_path / "batch-results.jsonl"
    body = {"choices": [{"message": {"content": "[]"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
    manifest, records, tried = read_manifest(RUN), [Record("a", "林晓在云帆", None)], 0
    for status, inner, error in (
        (200, body, None),
        (400, None, {"message": "too long"}),
        (429, None, {"message": "x"}),
    ):
        line = {"id": "v", "custom_id": "a", "error": error, "response": {"status_code": status, "body": inner}}
        for what, new in sampled(line, every):
            path.write_text(written(new) + "\n", encoding="utf-8")
            found, message = outcome(lambda: read_results(path, manifest, records, ()), what)
            tried += 1
            if message:
                continue
            predictions, failures = found
            assert len(predictions) + len(failures) == 1, what
            for prediction in predictions:
                assert Prediction.from_line(prediction.as_line().decode()) == prediction, what
                assert prediction.error or prediction.answer in ("", understood(new)["response"]["body"]["choices"][0][
                    "message"]["content"]), what  # fmt: skip
    assert tried >= 33 * 5 / every


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_edited_result_files_give_a_row_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("recipes/nano/results/x.json")
    path.parent.mkdir(parents=True)
    value = load(ROOT / "tests/previous/result.json") | {"note": "x", "gpu_memory_gb": 1.5}
    value |= {"base": "nano", "training_records": 1800, "curve": "lora", "trained_on": "demo"}
    value["prompt"] = {"answer_form": "json_list", "fingerprint": "0123456789abcdef", "definitions": True}
    value["prompt"] |= {"demonstrations": 4, "text_twice": False}
    columns = None
    tried = 0
    for what, new in sampled(value, every):
        path.write_text(written(new), encoding="utf-8")
        shown, error = outcome(table, what)
        tried += 1
        if error:
            continue
        head, _, row = shown.split("\n")
        columns = columns or head.count("|")
        assert row.replace("\\|", "").count("|") == columns, (what, row)
        assert "<" not in row and row.isprintable(), (what, row)
        heading, _, head, _, row = page(all_results()).removeprefix(HEAD).strip().split("\n")
        assert row.replace("\\|", "").count("|") == head.count("|"), (what, row)
        assert "<" not in heading + row and heading.isprintable() and row.isprintable(), (what, row)
    assert tried >= 90 * 5 / every


@pytest.mark.parametrize("every", [61, pytest.param(3, marks=pytest.mark.slow)])
def test_commands_on_a_run_with_an_edited_manifest_or_line(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """`score` and `report` end with 0, or with one line and exit code 2."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 5)
    run = tmp_path / "run"
    run.mkdir()
    lines = (RUN / "predictions.jsonl").read_text("utf-8").splitlines()
    manifest = load(RUN / "manifest.json")
    jobs = [(written(new), lines, what) for what, new in sampled(manifest, every)]
    jobs += [
        (written(manifest), [written(new), *lines[1:]], what) for what, new in sampled(json.loads(lines[0]), every)
    ]
    tried = 0
    for text, stored, what in jobs:
        (run / "manifest.json").write_text(text, encoding="utf-8")
        (run / "predictions.jsonl").write_text("\n".join(stored) + "\n", encoding="utf-8")
        for command in (("score", run), ("report", run, "--no-png")):
            ended = cli("ner-eval", *command, "--gold", PREVIOUS / "gold.jsonl", "--allow-other-labels")
            tried += 1
            assert ended.code in (0, 2), (what, ended)
            assert ended.code == 0 or len(ended.err.strip().split("\n")) == 1, (what, ended.err)
    assert tried >= 20
