"""`ner-eval publish`: result files, and the table made from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_data.gold import Entity, Record
from ner_eval.publish import END, RECIPES, START, TABLE, table
from ner_eval.runs.predictions import Prediction
from support import ROOT, Result, one_line_error


def test_the_committed_table_is_what_the_result_files_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert table() in TABLE.read_text(encoding="utf-8")


def test_every_committed_result_names_the_protocol_of_its_counts() -> None:
    for path in sorted((ROOT / RECIPES).glob("*/results/*.json")):
        assert json.loads(path.read_text("utf-8"))["protocol"] == "text", path


RECORDS = [
    Record("1", "林晓来了", (Entity(0, 2, "name", "林晓"),)),
    Record("2", "云帆", (Entity(0, 2, "company", "云帆"),)),
]
ANSWERS = {"1": '[{"label":"name","text":"林晓"}]', "2": "[]"}


@pytest.fixture
def adapter(workplace: Path) -> Path:
    """A trained adapter's folder, its recipe and an empty table."""
    folder = workplace / "saves/nano/lora/demo"
    folder.mkdir(parents=True)
    (folder / "all_results.json").write_text('{"train_runtime": 90.0, "epoch": 2.0, "train_loss": 0.1}')
    (workplace / "recipes/nano").mkdir(parents=True)
    (workplace / "recipes/nano/lora.yaml").touch()
    TABLE.write_text(f"# head\n{START}\nold\n{END}\ntail\n")
    return folder


@pytest.fixture
def scored(make_run: Callable[..., Path], cli: Callable[..., Result]) -> Path:
    run = make_run(RECORDS, ANSWERS)
    assert cli("ner-eval", "score", run).code == 0
    return run


def test_a_result_keeps_counts_and_fills_a_row(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    result = cli("ner-eval", "publish", scored, "--adapter", adapter)
    assert result.code == 0, result.err
    stored = json.loads(Path("recipes/nano/results/run.json").read_text())
    assert stored["protocol"] == "text"
    assert stored["readings"]["lenient"]["company"] == {"tp": 0, "fp": 0, "fn": 1}
    text = TABLE.read_text()
    assert text.startswith("# head\n")
    assert text.endswith("tail\n")
    assert "old" not in text
    assert "| `nano/lora` | demo | demo test, 2 sentences | 0.6667 | 0.5000 | 1.5 min, 2.0 epochs | – |" in text


@pytest.mark.parametrize(
    "note",
    [
        END,
        START,
        "a | b",
        "a\nb\r\n| c |",
        "<script>x</script>",
        "`x",
        "*a* _b_ [c](d)",
        "\\",
        "\x1b[2J\u2028",
        "\udcff",
        "-->",
    ],
)
def test_a_note_is_shown_and_does_nothing_else(
    adapter: Path, scored: Path, cli: Callable[..., Result], note: str
) -> None:
    for _ in range(2):  # the second time finds the markers where they were
        assert cli("ner-eval", "publish", scored, "--adapter", adapter, f"--note={note}").code == 0
        text = TABLE.read_text("utf-8")
        assert text.startswith(f"# head\n{START}\n\n| Recipe") and text.endswith(
            f"|\n\n{END}tail\n".replace("tail", "\ntail")
        )
        assert text.count(START) == text.count(END) == 1
        rows = [line for line in text.splitlines() if line.startswith("| `nano/lora`")]
        assert len(rows) == 1 and rows[0].replace("\\\\", "").replace("\\|", "").count("|") == 10
        assert "<script" not in text and "\x1b" not in text


def test_a_plain_note_stays_plain(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    cli("ner-eval", "publish", scored, "--adapter", adapter, "--note", "learning_rate=2.0e-4, 100 sentences")
    assert "`nano/lora` (learning_rate=2.0e-4, 100 sentences) |" in TABLE.read_text()


def test_refused_records_are_named_in_the_row(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    line = Prediction.refused("2", "HTTP 400: too long").as_line().decode()
    path = scored / "predictions.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n" + line)
    assert "REFUSED" in cli("ner-eval", "score", scored).out
    assert cli("ner-eval", "publish", scored, "--adapter", adapter).code == 0
    assert "demo test, 2 sentences (1 refused)" in TABLE.read_text()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"train_runtime": "x"}', '{"train_runtime": -1}', '{"epoch": [1]}', '{"epoch": 1e999}', ""]
)
def test_a_damaged_training_result_is_one_line_and_nothing_is_written(
    adapter: Path, scored: Path, cli: Callable[..., Result], content: str
) -> None:
    (adapter / "all_results.json").write_text(content)
    before = TABLE.read_bytes()
    assert "all_results.json" in one_line_error(cli("ner-eval", "publish", scored, "--adapter", adapter))
    assert TABLE.read_bytes() == before and not Path("recipes/nano/results").exists()


@pytest.mark.parametrize("memory", ["nan", "inf", "-1", "0", "x"])
def test_an_amount_of_memory_is_a_number(adapter: Path, scored: Path, cli: Callable[..., Result], memory: str) -> None:
    result = cli("ner-eval", "publish", scored, "--adapter", adapter, "--gpu-memory", memory)
    assert result.code == 2 and "Traceback" not in result.err and not Path("recipes/nano/results").exists()


def test_a_short_adapter_path_is_one_line(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    assert "was not written by a recipe" in one_line_error(cli("ner-eval", "publish", scored, "--adapter", "/"))


def test_outside_the_repository_it_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Result]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run this in the repository's folder" in one_line_error(cli("ner-eval", "publish"))
    assert not list(tmp_path.iterdir())


def test_results_published_at_the_same_time_are_all_in_the_table(
    adapter: Path, make_run: Callable[..., Path], cli: Callable[..., Result], start: Callable[..., Any]
) -> None:
    runs = [make_run(RECORDS, ANSWERS, name=f"run{n}") for n in range(6)]
    for run in runs:
        cli("ner-eval", "score", run)
    processes = [start("publish", run, "--adapter", adapter, "--note", run.name) for run in runs]
    assert [process.wait(120) for process in processes] == [0] * 6
    assert [f"(run{n})" in TABLE.read_text() for n in range(6)] == [True] * 6


def test_a_table_without_its_marks_is_left_alone(workplace: Path, cli: Callable[..., Result]) -> None:
    TABLE.parent.mkdir()
    TABLE.write_text("# mine\n")
    assert "the markers of the table are missing" in one_line_error(cli("ner-eval", "publish"))
    assert TABLE.read_text() == "# mine\n"
