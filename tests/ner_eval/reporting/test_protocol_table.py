"""A protocol is one entry of one table: a new one is printed, stored, compared and reported without other changes."""

import json

import pytest

from browser import chromium
from ner_eval.metrics.mention_arrays import MentionArrays
from ner_eval.metrics.protocols import FP, PROTOCOLS, Protocol, Tally, tally_span
from report_page import data_of, four, rows


def tally_toy(arrays: MentionArrays) -> Tally:
    """Like span, but without false positives."""
    counts = tally_span(arrays)
    counts[:, :, FP] = 0
    return counts


TOY = Protocol("toy", "toy (span & no false positives)", "toy（不计误报的 span）", "toy", "micro", tally_toy)


@pytest.fixture
def toy(monkeypatch) -> Protocol:
    monkeypatch.setitem(PROTOCOLS, "toy", TOY)
    return TOY


def test_score_prints_and_stores_it(reported, ner_eval, toy):
    folder, _ = reported
    out = ner_eval("score", folder, "--protocol", "toy").out
    assert f"protocol: {toy.title}" in out
    # 29 of 36 gold mentions are found.
    assert "Micro Avg.     1.0000  0.8056 0.8923" in out
    assert f"protocol: {toy.title}" in ner_eval("score", folder, "--protocol", "all").out
    counts = json.loads((folder / "scores.json").read_text("utf-8"))["readings"]["lenient"]["toy"]
    assert counts["name"] == {"tp": 9, "fp": 0, "fn": 3}


def test_compare_knows_it(reported, ner_eval, toy):
    folder, _ = reported
    out = ner_eval("compare", folder, folder, "--protocol", "toy").out
    assert "protocol: toy, Micro Avg. F1" in out
    assert "0.8923" in out


@pytest.mark.parametrize(("language", "title"), [("zh", TOY.title_zh), ("en", "toy (span &amp; no false positives)")])
def test_page_and_markdown_show_it(reported, ner_eval, toy, language, title):
    folder, _ = reported
    assert ner_eval("report", folder, "--no-png", "--lang", language).code == 0
    (headline,) = [h for h in data_of(folder / "report.html")["headlines"] if h["name"] == "toy"]
    assert headline["title"] == {"zh": toy.title_zh, "en": toy.title}
    assert four(headline["f1"]["lenient"]) == "0.8923"
    text = (folder / "report.md").read_text("utf-8")
    assert "- 0.8923 Micro F1, toy" in text
    assert f"<details><summary>{title}" in text


@pytest.mark.slow
def test_the_browser_shows_its_figure_and_its_table(reported, ner_eval, toy, tmp_path):
    folder, _ = reported
    assert ner_eval("report", folder, "--no-png").code == 0
    with chromium(tmp_path / "profile") as browser:
        browser.open(folder / "report.html")
        assert f"Micro F1 · {toy.title_zh}" in browser.texts("#headline .figures li > :nth-child(3)")
        browser.click("#protocol-toy-lenient summary")
        assert rows(browser, "#protocol-toy-lenient")[-1] == [
            "Micro Avg.",
            "1.0000",
            "0.8056",
            "0.8923",
            "",
            "36",
            "29",
        ]
        assert browser.errors() == []
