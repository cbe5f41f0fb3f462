"""docs/benchmarks.md and its plots: what result files give, always the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_eval.benchmarks import DOCS, FILE_NAME, PLOT, page, write_benchmarks
from ner_eval.published import RECIPES, all_results
from support import ROOT, Result, one_line_error

Publish = Callable[..., Path]
SAMPLE = json.loads((ROOT / "tests/previous/result.json").read_text("utf-8"))
PROMPT = {"answer_form": "json_list", "fingerprint": "0123456789abcdef"}


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Write a result file like a real one, with changes."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, **changes: Any) -> Path:
        path = RECIPES / f"nano/results/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        value = SAMPLE | {"base": "nano", "training_records": 100, "prompt": PROMPT} | changes
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return write


UNTRAINED: dict[str, Any] = {"recipe": "recipes/nano/model.yaml", "trained_on": "", "training_records": 0}
UNTRAINED |= {"train_seconds": None, "epochs": None}


def weaker(by: int) -> dict[str, Any]:
    """Readings with fewer hits."""
    return {
        name: {label: counts | {"fp": counts["fp"] + by} for label, counts in by_label.items()}
        for name, by_label in SAMPLE["readings"].items()
    }


def test_the_committed_page_and_plots_are_what_the_result_files_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numpy as np
    from matplotlib.image import imread

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("ner_eval.benchmarks.DOCS", tmp_path / "docs")
    page_of, *plots = write_benchmarks()
    assert page_of.read_bytes() == (DOCS / FILE_NAME).read_bytes(), "run `ner-eval publish`"
    assert {path.name for path in plots} == {path.name for path in DOCS.glob(f"{PLOT}*.png")}
    for path in plots:  # pixels: another machine may compress them into other bytes
        assert np.array_equal(imread(path), imread(DOCS / path.name)), f"{path.name}: run `ner-eval publish`"


def test_results_of_one_model_and_split_share_a_table_the_best_one_first(result: Publish) -> None:
    result("a", readings=weaker(3), note="rank 4")
    result("b")
    result("c", run=SAMPLE["run"] | {"split": "dev"})
    result("d", base="other")
    lines = page(all_results()).splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## nano on demo dev",
        "## nano on demo test",
        "## other on demo test",
    ]
    start = lines.index("## nano on demo test")
    rows = [line for line in lines[start : lines.index("## other on demo test")] if "nano/lora" in line]
    assert [row.split(" | ")[-1].split("]")[0] for row in rows] == ["[b", "[a"]
    assert "| `nano/lora` | rank 4 | demo | 100 | json\\_list | none | 200 |".replace("\\_", "_") in rows[1]
    low, high = SAMPLE["intervals"]["lenient"]["text"]["micro"]
    assert f" | 0.8214 [{low:.4f}, {high:.4f}] | " in rows[0]


def test_an_earlier_result_file_gives_a_row_with_dashes(result: Publish) -> None:
    path = result("old")
    path.write_text(json.dumps(SAMPLE | {"intervals": {}}), encoding="utf-8")
    text = page(all_results())
    assert "## nano on demo test" in text
    assert "| `nano/lora` | – | demo | – | – | – | 200 | 0.8214 | 0.8313 | – | 2.7 min, 1.7 epochs | – |" in text


def test_a_learning_curve_has_a_table_and_a_plot(result: Publish) -> None:
    result("zero", **UNTRAINED, curve="lora", readings=weaker(30))
    shots = PROMPT | {"demonstrations": 4, "definitions": True, "text_twice": True}
    result("shots", **UNTRAINED, curve="lora", prompt=shots, readings=weaker(20))
    result("small", curve="lora", training_records=250, readings=weaker(9))
    result("all", curve="lora", training_records=10_000)
    result("none")  # in no curve
    first = {path.name: path.read_bytes() for path in write_benchmarks()}
    assert sorted(first) == [FILE_NAME, f"{PLOT}nano-demo-test.png"]
    text = first[FILE_NAME].decode()
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| lora | ")]
    assert rows == ["0 (not trained)", "0 (not trained)", "250", "10,000"]
    assert "| definitions, 4 demonstrations, text twice |" in text
    assert "| `nano, untrained` | – | – | 0 |" in text
    assert f"]({PLOT}nano-demo-test.png)" in text
    # The same again, byte for byte; a point that moves changes both.
    assert {path.name: path.read_bytes() for path in write_benchmarks()} == first
    result("all", curve="lora", training_records=9_000)
    assert all(path.read_bytes() != first[path.name] for path in write_benchmarks())


def test_curves_that_begin_at_one_point_share_it(result: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[list[int]] = []
    errorbar = Axes.errorbar
    monkeypatch.setattr(
        Axes, "errorbar", lambda axes, x, *more, **how: drawn.append(x) or errorbar(axes, x, *more, **how)
    )
    result("first", curve="sure; random", training_records=200)
    result("random", curve="random", training_records=300)
    result("sure", curve="sure", training_records=300)
    text = {path.name: path.read_bytes() for path in write_benchmarks()}[FILE_NAME].decode()
    assert drawn == [[200, 300], [200, 300]]
    assert text.count("| sure; random | 200 |") == 1


def test_a_plot_that_is_no_longer_shown_is_removed(result: Publish) -> None:
    paths = [result(f"r{count}", curve="lora", training_records=count) for count in (1, 2)]
    kept = DOCS / "bench-train-nano-demo.png"
    write_benchmarks()
    kept.touch()
    assert len(list(DOCS.glob("*.png"))) == 2
    paths[0].unlink()  # one point is no curve
    assert write_benchmarks() == [DOCS / FILE_NAME]
    assert list(DOCS.glob("*.png")) == [kept]


@pytest.mark.parametrize("name", ["$\\frac{$", "a|b<script>", "中文 𝛼", "\\", "x" * 60, "_a_ *b*", "../../x", "%s {}"])
def test_names_do_nothing_but_be_shown(result: Publish, tmp_path: Path, name: str) -> None:
    for count in (1, 2):
        result(f"r{count}", curve=name, base=name, training_records=count, run=SAMPLE["run"] | {"corpus": name})
    page_of, plot = write_benchmarks()
    assert plot.parent == DOCS and plot.is_file() and len(list(tmp_path.iterdir())) == 2
    text = page_of.read_text("utf-8")
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace("\\\\", "").replace("\\|", "").count("|") for row in rows} == {16, 7}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training_records": -1}, "training_records: "),
        ({"training_records": None, "curve": "lora"}, "curve: a point of a learning curve needs training_records"),
        ({"recipe": "recipes/nano/model.yaml"}, "training: an untrained model has none"),
        ({"prompt": {"answer_form": "json_list"}}, "prompt: "),
        ({"prompt": PROMPT | {"fingerprint": "x"}}, "prompt.fingerprint: "),
        ({"prompt": PROMPT | {"more": 1}}, "prompt: "),
        ({"intervals": {"level": 2}}, "intervals: "),
        ({"intervals": SAMPLE["intervals"] | {"lenient": {}}}, "intervals: lack text"),
        ({"curve": 5}, "curve: "),
        ({"more": 5}, "has the unknown field"),
    ],
)
def test_an_edited_result_is_refused_in_one_line(
    result: Publish, cli: Callable[..., Result], changes: dict[str, Any], said: str
) -> None:
    path = result("edited", **changes)
    (RECIPES / "README.md").write_text("<!-- results: written by `ner-eval publish` -->\n<!-- end of results -->\n")
    message = one_line_error(cli("ner-eval", "publish"))
    assert message.startswith(f"ner-eval: {path}: not a published result, or edited ({said}") or (
        "more" in changes and said.split()[-1] in message
    ), message
    assert not DOCS.exists()
