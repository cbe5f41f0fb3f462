"""The report in use in a real headless Chromium: filters, contents, keyboard, languages, hostile text.

Set SCREENSHOTS to a folder to keep the pictures.
"""

import pytest

from browser import chromium
from ner_data.gold import Record
from ner_eval.runs.predictions import Prediction
from report_page import GOLD, HOSTILE, LABELS, TEXT, count, data_of, gold_answer, keep, kinds_shown, rows, say

pytestmark = pytest.mark.slow


def test_the_report_works_in_a_browser(report, tmp_path):
    data = data_of(report)
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        keep(browser, "desktop", tmp_path)
        assert count(browser) == data["wrong_sentences"]

        # Every class alone: as many sentences as have it, and each of those shown has it.
        names = {"missed": "漏报", "spurious": "误报", "boundary": "边界错误", "label": "类别错误",
                 "boundary_label": "边界与类别都错", "hallucinated": "幻觉（原文没有）"}  # fmt: skip
        for kind, name in names.items():
            browser.choose("#kind", kind)
            wanted = sum(any(pair[0] == kind for pair in example["pairs"]) for example in data["examples"])
            assert count(browser) == wanted, kind
            # Sentences and mentions are told apart: the mentions are as many as the error classes count.
            assert browser.texts("#found") == [f"{wanted} 句，错误 {data['classes'][kind]} 处"]
            assert all(name in shown for shown in kinds_shown(browser))

        # Class and label must match the same mention.
        browser.choose("#kind", "missed")
        browser.choose("#label", "company")
        wanted = sum(
            any(pair[0] == "missed" and pair[1][2] == "company" for pair in example["pairs"])
            for example in data["examples"]
        )
        assert 0 < wanted == count(browser) < data["wrong_sentences"]

        # The filter is kept in the address and restored from it.
        fragment = browser.run("return location.hash")
        browser.open(report, fragment)
        assert count(browser) == wanted
        assert browser.run("return document.getElementById('kind').value") == "missed"

        # Words, answers in no form, and a cell of the confusion matrix.
        browser.open(report)
        browser.write("#query", "和光")
        assert count(browser) == sum("和光" in e["text"] or "和光" in e.get("answer", "") or any(
            pair[2] and "和光" in pair[2][3] for pair in e["pairs"]) for e in data["examples"])  # fmt: skip
        browser.open(report)
        browser.choose("#kind", "inexact")
        assert count(browser) == sum("inexact" in e.get("problems", []) for e in data["examples"])
        browser.open(report)
        cell = int(browser.texts("#confusion td button")[0])
        browser.click("#confusion td button")
        assert 0 < count(browser) <= cell
        browser.click("#pair")
        assert count(browser) == data["wrong_sentences"]

        # A row of the classes filters too; more sentences on demand.
        browser.click("#classes button:first-of-type")
        assert browser.run("return document.getElementById('kind').value") == "missed"
        browser.open(report)
        shown = len(browser.texts("#examples .example"))
        browser.click("#more")
        assert len(browser.texts("#examples .example")) > shown == 10

        # English, dark.
        browser.click("#language")
        assert "Error classes" in browser.texts("h2")
        assert browser.run("return document.documentElement.lang") == "en"
        light = browser.run("return getComputedStyle(document.body).backgroundColor")
        browser.dark(True)
        dark = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert dark != light
        keep(browser, "dark-english", tmp_path)
        browser.click("#theme")
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == light

        assert browser.errors() == []
        assert browser.requests() == []


def test_the_contents_follow_the_scroll_and_lead_to_every_section(report, tmp_path):
    current = "return [...document.querySelectorAll('nav a[aria-current]')].map((link) => link.hash.slice(1))"
    with chromium(tmp_path / "profile") as browser:
        browser.open(report, "#kind=missed")
        wanted = count(browser)
        names = browser.run("return [...document.querySelectorAll('#sections > section')].map((node) => node.id)")
        assert browser.texts("nav a") == browser.texts("h2")
        assert browser.run(current) == names[:1] == ["headline"]
        script = (
            "document.getElementById(arguments[0]).scrollIntoView(); return new Promise((go) => setTimeout(go, 60))"
        )
        for name in names:
            browser.run(script, name)
            assert browser.run(current) == [name]
        assert browser.run("return document.querySelector('nav').getBoundingClientRect().top") >= 0
        for name in reversed(names[:-1]):
            browser.press(f"nav a[href='#{name}']", "\ue007")
            assert browser.run(current) == [name]
            assert abs(browser.run("return document.activeElement.getBoundingClientRect().top")) < 60
            assert browser.run("return document.activeElement.id") == name
        # The filter is still there, in the address too.
        assert count(browser) == wanted
        assert browser.run("return location.hash") == "#kind=missed"
        browser.open(report, "#confusion")
        assert browser.run(current) == ["confusion"]
        browser.click("#language")
        assert browser.texts("nav a")[3] == "Confusion matrix"
        assert browser.errors() == []


def test_a_partial_report_opens_in_english_and_says_what_is_missing(partial_report, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        browser.open(partial_report)
        assert browser.run("return document.documentElement.lang") == "en"
        assert browser.texts("h2") == ["Result", "Labels", "Error classes", "Confusion matrix", "Where errors occur",
                                       "Likely annotation errors", "Answers and mentions", "About this run",
                                       "Sentences with errors"]  # fmt: skip
        assert browser.texts("#headline p")[0].startswith("Protocol text (")
        assert browser.texts("#headline .warning") == [
            "Incomplete: 1 records have no answer yet and are excluded from all figures.",
            "Only part of the split was asked: the first 3 records.",
        ]
        assert browser.texts("#breakdowns div > .note") == ["No gold file of a training split; name it with --train."]
        assert [row[0] for row in rows(browser, "#labels")] == [*LABELS, "Macro Avg.", "Micro Avg."]
        browser.click("#language")
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        assert "错误类型" in browser.texts("h2")


def test_highlights_are_where_the_offsets_say(report, tmp_path):
    """Some entities have characters outside the basic plane before them."""
    data = data_of(report)
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        browser.click("#more")
        for example in data["examples"][:20]:
            spans = [pair[1] for pair in example["pairs"] if pair[1]]
            marked = browser.run(
                "return [...document.querySelector(`#examples [data-id='${arguments[0]}'] bdi`).querySelectorAll('.m')]"
                ".map((node) => node.innerText)",
                example["id"],
            )
            assert marked == [example["text"][start:end] for start, end, _ in spans]


def test_hostile_text_is_shown_and_never_run(report, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        browser.write("#query", "window.broken")
        assert browser.run("return window.broken === undefined")
        shown = browser.texts("#examples [data-id='t-hostile'] bdi")[0]
        assert "<script>window.broken=1</script><img src=x onerror='window.broken=1'></script>" in shown
        assert "U+202E" in shown
        assert "\u202e" not in browser.run("return document.getElementById('page').innerText")
        assert browser.run("return document.querySelectorAll('#page script, #page img').length") == 0
        assert browser.errors() == []
        assert browser.requests() == []


@pytest.mark.parametrize("language", ["zh", "en"])
def test_refused_records_are_announced_and_shown_with_the_servers_words(make_run, ner_eval, tmp_path, language):
    """Next to an answer with a lone surrogate, which is spelt out, and a character of two UTF-16 units, which is not."""
    records = [Record(f"t-{n}", TEXT, GOLD) for n in range(3)]
    folder = make_run(records, {"t-0": "\ud800 不知道 😀", "t-1": gold_answer(records[1])}, LABELS)
    with (folder / "predictions.jsonl").open("ab") as file:
        file.write(Prediction.refused("t-2", f"HTTP 400: {HOSTILE}").as_line())
    assert ner_eval("report", folder, "--no-png", "--lang", language).code == 0
    with chromium(tmp_path / "profile") as browser:
        browser.open(folder / "report.html")
        keep(browser, f"refused-{language}", tmp_path)
        assert browser.texts("#headline .warning") == [say("refused_warning", language, n=1)]
        assert browser.texts("#examples .answer")[0] == "\ufffd 不知道 😀"
        browser.choose("#kind", "refused")
        assert count(browser) == 1
        [words] = browser.texts("#examples .answer")
        assert words.startswith("HTTP 400: <script>window.broken=1</script>")
        assert kinds_shown(browser) == [{say("refused", language), say("missed", language)}]
        assert [say("refused", language), "1"] in rows(browser, "#answers")
        assert browser.run("return window.broken === undefined")
