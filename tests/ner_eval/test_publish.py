"""`ner-eval publish`: result files, and the table made from them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data.gold import Entity, Record
from ner_eval.publish import END, RECIPES, START, TABLE, table
from support import ROOT, Result, one_line_error


def test_the_committed_table_is_what_the_result_files_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert table() in TABLE.read_text(encoding="utf-8")


def test_every_committed_result_names_the_protocol_of_its_counts() -> None:
    for path in sorted((ROOT / RECIPES).glob("*/results/*.json")):
        assert json.loads(path.read_text("utf-8"))["protocol"] == "text", path


def test_a_result_keeps_counts_and_fills_a_row(
    workplace: Path, make_run: Callable[..., Path], cli: Callable[..., Result]
) -> None:
    adapter = workplace / "saves/nano/lora/demo"
    adapter.mkdir(parents=True)
    (adapter / "all_results.json").write_text('{"train_runtime": 90.0, "epoch": 2.0}')
    (workplace / "recipes/nano").mkdir(parents=True)
    (workplace / "recipes/nano/lora.yaml").touch()
    TABLE.write_text(f"# head\n{START}\nold\n{END}\ntail\n")
    records = [
        Record("1", "林晓来了", (Entity(0, 2, "name", "林晓"),)),
        Record("2", "云帆", (Entity(0, 2, "company", "云帆"),)),
    ]
    run = make_run(records, {"1": '[{"label":"name","text":"林晓"}]', "2": "[]"})
    cli("ner-eval", "score", run)
    result = cli("ner-eval", "publish", run, "--adapter", adapter)
    assert result.code == 0, result.err
    stored = json.loads(Path("recipes/nano/results/run.json").read_text())
    assert stored["protocol"] == "text"
    assert stored["readings"]["lenient"]["company"] == {"tp": 0, "fp": 0, "fn": 1}
    text = TABLE.read_text()
    assert text.startswith("# head\n")
    assert text.endswith("tail\n")
    assert "old" not in text
    assert "| `nano/lora` | demo | demo test, 2 sentences | 0.6667 | 0.5000 | 1.5 min, 2.0 epochs | – |" in text


def test_a_table_without_its_marks_is_left_alone(workplace: Path, cli: Callable[..., Result]) -> None:
    TABLE.parent.mkdir()
    TABLE.write_text("# mine\n")
    assert "the markers of the table are missing" in one_line_error(cli("ner-eval", "publish"))
    assert TABLE.read_text() == "# mine\n"
