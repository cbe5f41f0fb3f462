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


QUANTIZED = {"scheme": "awq", "group": 64, "samples": 256, "bytes": 3_100_000, "bytes_before": 12_300_000, "at": ""}


@pytest.mark.parametrize(
    ("quantized", "note", "shown"),
    [
        (QUANTIZED, "", "(awq (group 64, 256 samples), 3.1 MB of 12.3 MB)"),
        (QUANTIZED | {"scheme": "int8", "samples": 0}, "9 answers/s", "(int8, 3.1 MB of 12.3 MB; 9 answers/s)"),
        (QUANTIZED | {"bytes": "many"}, "9 answers/s", "(9 answers/s)"),
    ],
)
def test_the_result_of_a_quantised_model_says_so(
    adapter: Path, scored: Path, cli: Callable[..., Result], quantized: dict[str, Any], note: str, shown: str
) -> None:
    path = scored / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"training": {"quantized": quantized}}), "utf-8")
    assert cli("ner-eval", "publish", scored, "--adapter", adapter, "--note", note).code == 0
    assert f"| `nano/lora` {shown} |" in TABLE.read_text("utf-8")


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


# --- where a result comes from ------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(adapter: Path, tmp_path: Path) -> Path:
    """An adapter that was trained outside saves/, with the record of its training, and its training files."""
    folder = tmp_path / "runs13/first"
    folder.mkdir(parents=True)
    (folder / "all_results.json").write_text('{"train_runtime": 60.0, "epoch": 1.0}')
    Path("data/alpaca").mkdir(parents=True)
    Path("data/alpaca/dataset_info.json").write_text('{"demo_train": {"file_name": "demo_train.json"}}')
    Path("data/alpaca/demo_train.json").write_text(json.dumps([{}] * 1001))
    record(folder)
    return folder


def record(folder: Path, **arguments: Any) -> None:
    """Write how the adapter in a folder was trained."""
    given = {"dataset_dir": "data/alpaca", "dataset": "demo_train", "val_size": 0.1} | arguments
    value = {"started": "", "recipe": None, "base_model": "/work/models/qwen05b", "hardware": "", "versions": {}}
    (folder / "ner_training.json").write_text(json.dumps(value | {"arguments": given}))


def stored() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path("recipes/nano/results/run.json").read_text())
    return value


def test_an_adapter_elsewhere_is_published_with_the_recipe_that_is_named(
    elsewhere: Path, scored: Path, cli: Callable[..., Result]
) -> None:
    words = ["--adapter", elsewhere, "--recipe", "recipes/nano/lora.yaml", "--curve", "lora"]
    assert cli("ner-eval", "publish", scored, *words).code == 0
    value = stored()
    assert (value["recipe"], value["trained_on"], value["base"]) == ("recipes/nano/lora.yaml", "demo", "qwen05b")
    assert (value["training_records"], value["curve"], value["train_seconds"]) == (900, "lora", 60.0)
    assert value["number_format"] == "float32"
    record(elsewhere, bf16=True)
    assert cli("ner-eval", "publish", scored, *words).code == 0 and stored()["number_format"] == "bfloat16"
    assert ", bfloat16 |" in Path("docs/benchmarks.md").read_text()
    prompt = value["prompt"]
    assert (prompt["answer_form"], prompt["demonstrations"], prompt["definitions"]) == ("json_list", 0, False)
    assert "| `nano/lora` | – | demo | 900 | json_list | none |" in Path("docs/benchmarks.md").read_text()


def test_what_was_trained_on_is_what_the_training_recorded(
    elsewhere: Path, adapter: Path, scored: Path, cli: Callable[..., Result]
) -> None:
    part = elsewhere.rename(adapter.with_name("demo-250"))  # named for its size
    assert cli("ner-eval", "publish", scored, "--adapter", part).code == 0
    assert stored()["trained_on"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 900),  # a tenth of 1,001, rounded up, is held out
        ({"val_size": 0.0}, 1001),
        ({"val_size": None}, 1001),
        ({"val_size": 100}, 901),
        ({"max_samples": 500}, 450),
        ({"max_samples": 5000}, 900),
        ({"max_samples": "500", "val_size": "0.1"}, 450),
        ({"dataset": "demo_train,demo_train", "max_samples": 10}, 18),
        ({"dataset": ["demo_train"]}, 900),
        ({"dataset": "gone_train"}, None),
        ({"dataset_dir": "nowhere"}, None),
        ({"max_samples": "many"}, None),
        ({"val_size": []}, 1001),
        ({"val_size": {"x": 1}}, None),
    ],
)
def test_records_that_were_trained_on_are_counted(
    elsewhere: Path, scored: Path, cli: Callable[..., Result], arguments: dict[str, Any], count: int | None
) -> None:
    record(elsewhere, **arguments)
    words = ["--adapter", elsewhere, "--recipe", "recipes/nano/lora.yaml"]
    assert cli("ner-eval", "publish", scored, *words).code == 0
    assert stored()["training_records"] == count
    assert cli("ner-eval", "publish", scored, *words, "--records", "77").code == 0
    assert stored()["training_records"] == 77


def test_an_untrained_base_model_is_published(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    Path("recipes/nano/model.yaml").touch()
    assert cli("ner-eval", "publish", scored, "--base", "nano", "--curve", "zero-shot").code == 0
    value = stored()
    assert (value["recipe"], value["trained_on"], value["training_records"]) == ("recipes/nano/model.yaml", "", 0)
    assert (value["train_seconds"], value["epochs"], value["base"]) == (None, None, "model-run")
    assert "| `nano, untrained` | – | demo test, 2 sentences | 0.6667 | 0.5000 | – | – |" in TABLE.read_text()


def test_a_trained_model_is_no_base_model(adapter: Path, scored: Path, cli: Callable[..., Result]) -> None:
    Path("recipes/nano/model.yaml").touch()
    path = scored / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": {"recipe": "x"}}))
    message = one_line_error(cli("ner-eval", "publish", scored, "--base", "nano"))
    assert "its model was trained; name the adapter with --adapter instead of --base" in message
    assert not Path("recipes/nano/results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name the adapter's folder with --adapter saves/MODEL/METHOD/CORPUS, or an untrained model with --base MODEL"),
        (["--base", "gone"], "--base 'gone': there is no recipes/MODEL/model.yaml of that name"),
        (["--base", "../recipes/nano"], "--base '../recipes/nano': there is no recipes/MODEL/model.yaml"),
        (["--base", "a\nb"], "--base 'a\\nb': there is no recipes/MODEL/model.yaml"),
        (["--base", "nano", "--adapter", "ELSEWHERE"], "an untrained model has no --adapter, --recipe and --records"),
        (["--base", "nano", "--records", "5"], "an untrained model has no --adapter, --recipe and --records"),
        (["--adapter", "ELSEWHERE"], "was not written by a recipe"),
        (["--adapter", "ELSEWHERE", "--recipe", "gone.yaml"], "--recipe 'gone.yaml': no such recipe; name recipes/"),
        (["--adapter", "ELSEWHERE", "--recipe", "recipes/nano/model.yaml"], "no such recipe; name recipes/MODEL/"),
        (["--adapter", "ELSEWHERE", "--recipe", "recipes"], "--recipe 'recipes': no such recipe"),
        (["--adapter", "gone", "--recipe", "recipes/nano/lora.yaml"], "does not say what it was trained on"),
        (["--adapter", "ELSEWHERE", "--recipe", "recipes/nano/lora.yaml", "--curve", "a\nb"], "--curve 'a\\nb': not a"),
        (["--adapter", "ELSEWHERE", "--recipe", "recipes/nano/lora.yaml", "--curve", "x" * 61], ": not a name; give a"),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_true_is_not_published(
    elsewhere: Path, scored: Path, cli: Callable[..., Result], words: list[str], said: str
) -> None:
    Path("recipes/nano/model.yaml").touch()
    before = TABLE.read_bytes()
    given = [str(elsewhere) if word == "ELSEWHERE" else word for word in words]
    assert said in one_line_error(cli("ner-eval", "publish", scored, *given))
    assert TABLE.read_bytes() == before and not Path("recipes/nano/results").exists() and not Path("docs").exists()


def test_a_point_of_a_curve_needs_its_number_of_records(
    elsewhere: Path, scored: Path, cli: Callable[..., Result]
) -> None:
    Path("data/alpaca/demo_train.json").unlink()
    words = ["--adapter", elsewhere, "--recipe", "recipes/nano/lora.yaml", "--curve", "lora"]
    message = one_line_error(cli("ner-eval", "publish", scored, *words))
    assert "how many records were trained on is unknown; give it with --records" in message
    assert cli("ner-eval", "publish", scored, *words, "--records", "250").code == 0
