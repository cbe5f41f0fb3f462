"""Labels, answers and servers' words that are made to break a table, a page, a plot or a terminal."""

import json

import pytest

from ner_data.gold import Entity, Record
from ner_eval.runs.predictions import Prediction
from report_page import HOSTILE, data_of

LABELS = (
    "total", "Macro Avg.", "Micro Avg.", "__proto__", "constructor", "toString", "nan", "None", "0", "F1", "$x$ $\\frac$",
    "a|b", "<i>x</i>", "`", "</script>", "{{data}}", "{n}", "%s", "label", "Label", "名称", "x" * 200,
)  # fmt: skip
WORDS = f"HTTP 400: '{HOSTILE}|`*_ [x](y) \x1b[2J\n# head\n| a | b |\ud800'"


def hostile_run(make_run, name="run"):
    records = [Record(f"t-{n}", "甲乙丙", (Entity(0, 1, label, "甲"),)) for n, label in enumerate(LABELS)]
    records += [Record("refused", "甲乙丙", (Entity(0, 1, "total", "甲"),)), Record("odd", "甲乙丙", ())]
    answers = {r.id: json.dumps([{"label": r.gold[0].label, "text": "甲"}]) for r in records[::2] if r.gold}
    answers |= {r.id: json.dumps([{"label": "不在其中", "text": "\ud800"}]) for r in records[1::2]}
    answers["odd"] = "\ud800不是 JSON\udfff\x00"
    folder = make_run(records, answers, LABELS, name=name)
    path = folder / "predictions.jsonl"
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if b'"refused"' not in line]
    path.write_bytes(b"".join([*lines, Prediction.refused("refused", WORDS).as_line()]))
    return folder


@pytest.mark.parametrize("png", ["--png", "--no-png"])
def test_hostile_labels_answers_and_words_are_shown_as_text(make_run, ner_eval, png) -> None:
    folder = hostile_run(make_run)
    other = hostile_run(make_run, "other")
    ended = ner_eval("report", folder, "--compare", other, png, "--lang", "en")
    if png == "--png" and ended.code:
        pytest.skip("absent: a Chinese font or matplotlib")
    assert ended.code == 0, ended.err
    html, text = ((folder / name).read_text("utf-8") for name in ("report.html", "report.md"))
    assert html.count("</script>") == 3 and "<script>window" not in html + text and "<i>" not in html + text
    assert "\x1b" not in html + text and "\n# head" not in text
    examples = {example["id"]: example for example in data_of(folder / "report.html")["examples"]}
    assert "window.broken" in examples["refused"]["answer"] and "\n" not in examples["refused"]["answer"]
    assert "U+D800 不是 JSON" in text or "不是 JSON" in examples["odd"]["answer"]
    for line in text.splitlines():
        assert not line.startswith("|") or line.replace("\\|", "").count("|") in (2, 3, 5, 7, 10), line


@pytest.mark.parametrize("protocol", ["all", "text"])
def test_the_terminals_tables_have_a_row_for_every_label(make_run, ner_eval, protocol) -> None:
    folder = hostile_run(make_run)
    ended = ner_eval("score", folder, "--protocol", protocol)
    assert ended.code == 0, ended.err
    for label in LABELS:
        assert any(line.strip().startswith(label) for line in ended.out.splitlines()), label
    compared = ner_eval("compare", folder, folder)
    assert compared.code == 0 and "\x1b" not in compared.out + ended.out
