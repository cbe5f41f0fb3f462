"""The report in a real headless Chromium: filters, languages, phone, dark mode, print, hostile text.

Set SCREENSHOTS to a folder to keep the pictures.
"""

import json
import os
import random
from pathlib import Path

import pytest

from browser import chromium
from ner_data.gold import Entity, Record, write_gold

pytestmark = pytest.mark.slow

LABELS = ("address", "name", "company")
HOSTILE = "<script>window.broken=1</script><img src=x onerror='window.broken=1'></script>\u202e"


def keep(browser, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    browser.screenshot(folder / f"{name}.png")


def sentences() -> list[Record]:
    rng = random.Random(0)
    records = []
    for n in range(90):
        name, company = rng.choice(["林晓", "周舟", "陈一鸣"]), rng.choice(["云帆科技", "和光银行"])
        # Characters outside the basic plane before the entities: offsets are characters, not UTF-16 units.
        text = f"{'😀' * (n % 3)}{name}在{company}任职，" + "后来又去了别处" * (n % 7)
        start = n % 3
        middle = start + len(name) + 1
        entities = (
            Entity(start, start + len(name), "name", name),
            Entity(middle, middle + len(company), "company", company),
        )
        records.append(Record(f"t-{n}", text, entities))
    return records


@pytest.fixture
def report(make_run, ner_eval, corrupt, tmp_path) -> Path:
    """A report with every class of error, a comparison, training frequencies and hostile text."""
    records = sentences()
    records.append(Record("t-hostile", HOSTILE + "林晓", (Entity(len(HOSTILE), len(HOSTILE) + 2, "name", "林晓"),)))
    write_gold(tmp_path / "train.jsonl", records[:30])
    folders = []
    for seed, run in enumerate(("first", "second")):
        rng = random.Random(seed)
        answers = {r.id: corrupt(r, LABELS, rng) for r in records}
        answers["t-hostile"] = json.dumps([{"label": HOSTILE, "text": HOSTILE + "</script>"}])
        answers["t-1"] = '[{"label":"name","text":"林晓林"}] <script>window.broken=1</script>'
        folders.append(make_run(records, answers, LABELS, name=run))
    ended = ner_eval("report", folders[0], "--compare", folders[1], "--no-png")
    assert ended.code == 0, ended.err
    return folders[0] / "report.html"


def count(browser) -> int:
    return int(browser.run("return document.getElementById('found').dataset.count"))


def kinds_shown(browser) -> list[set[str]]:
    script = """return [...document.querySelectorAll('#examples .example')].map(
        (card) => [...card.querySelectorAll('.kind')].map((node) => node.innerText))"""
    return [set(kinds) for kinds in browser.run(script)]


def embedded(path: Path) -> dict:
    html = path.read_text("utf-8")
    start = html.index('id="data">') + len('id="data">')
    return json.loads(html[start : html.index("</script>", start)])


def test_the_report_works_in_a_browser(report, tmp_path):
    data = embedded(report)
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        keep(browser, "desktop", tmp_path)
        assert count(browser) == data["wrong_sentences"]

        # Every class alone: as many sentences as have it, and each of those shown has it.
        names = {"missed": "漏报", "spurious": "误报", "boundary": "边界错误", "label": "标签错误",
                 "boundary_label": "边界与标签都错", "hallucinated": "幻觉（原文没有）"}  # fmt: skip
        for kind, name in names.items():
            browser.choose("#kind", kind)
            wanted = sum(any(pair[0] == kind for pair in example["pairs"]) for example in data["examples"])
            assert count(browser) == wanted, kind
            assert all(name in shown for shown in kinds_shown(browser))

        # Class and label must hold of the same mention.
        browser.choose("#kind", "missed")
        browser.choose("#label", "company")
        wanted = sum(
            any(pair[0] == "missed" and pair[1][2] == "company" for pair in example["pairs"])
            for example in data["examples"]
        )
        assert 0 < wanted == count(browser) < data["wrong_sentences"]

        # The filter stands in the address and comes back with it.
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
        assert len(browser.texts("#examples .example")) > shown == 30

        # Protocol and reading.
        assert (
            browser.texts("#labels tr.total td:nth-child(4)")[1]
            == f"{data['protocols']['text']['lenient']['micro']['f1']:.4f}"
        )
        browser.choose("#protocol", "span")
        browser.choose("#reading", "strict")
        assert (
            browser.texts("#labels tr.total td:nth-child(4)")[1]
            == f"{data['protocols']['span']['strict']['micro']['f1']:.4f}"
        )

        # English, dark.
        browser.click("#language")
        assert "Classes of error" in browser.texts("h2")
        assert browser.run("return document.documentElement.lang") == "en"
        light = browser.run("return getComputedStyle(document.body).backgroundColor")
        browser.dark(True)
        dark = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert dark != light
        keep(browser, "dark-english", tmp_path)
        browser.click("#theme")
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == light

        assert browser.pdf().startswith(b"%PDF")
        assert browser.errors() == []
        assert browser.requests() == []


def test_highlights_stand_where_the_offsets_say(report, tmp_path):
    """Characters outside the basic plane stand before some entities."""
    data = embedded(report)
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        for example in data["examples"][:20]:
            spans = [pair[1] for pair in example["pairs"] if pair[1]]
            marked = browser.run(
                "return [...document.querySelector(`[data-id='${arguments[0]}'] bdi`).querySelectorAll('.m')]"
                ".map((node) => node.innerText)",
                example["id"],
            )
            assert marked == [example["text"][start:end] for start, end, _ in spans]


def test_hostile_text_is_shown_and_never_run(report, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        browser.write("#query", "window.broken")
        assert browser.run("return window.broken === undefined")
        shown = browser.texts("[data-id='t-hostile'] bdi")[0]
        assert "<script>window.broken=1</script><img src=x onerror='window.broken=1'></script>" in shown
        assert "U+202E" in shown
        assert "\u202e" not in browser.run("return document.getElementById('page').innerText")
        assert browser.run("return document.querySelectorAll('#page script, #page img').length") == 0
        assert browser.errors() == []
        assert browser.requests() == []


def test_the_report_is_readable_on_a_phone(report, tmp_path):
    with chromium(tmp_path / "profile", phone=True) as browser:
        browser.open(report)
        keep(browser, "phone", tmp_path)
        width = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert width == [390, 390]
        sizes = browser.run(
            "return [...document.querySelectorAll('.sentence bdi')].map(n => parseFloat(getComputedStyle(n).fontSize))"
        )
        assert min(sizes) >= 14
        # What is wider than the screen scrolls by itself and not the page.
        wide = browser.run("""return [...document.querySelectorAll('#page *')].filter((node) =>
            !node.closest('.scroll') && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))""")
        assert wide == []
        assert browser.errors() == []
