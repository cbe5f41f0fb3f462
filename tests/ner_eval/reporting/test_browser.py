"""The report in a real headless Chromium: filters, languages, phone, dark mode, print, hostile text.

Set SCREENSHOTS to a folder to keep the pictures.
"""

import json
import os
import random
from itertools import product
from pathlib import Path

import pytest

from browser import Browser, chromium
from ner_data.gold import Entity, Record, write_gold
from support import ROOT

pytestmark = pytest.mark.slow

# As many as CLUENER has: the matrix of so many is the widest thing on the page.
LABELS = ("address", "book", "company", "game", "government", "movie", "name", "organization", "position", "scene")
STRINGS = json.loads((ROOT / "eval/ner_eval/reporting/page/strings.json").read_text("utf-8"))
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
    """A report with every class of error, suspects, a comparison, training frequencies and hostile text."""
    records = sentences()
    doubtful = [Record(f"t-doubtful-{n}", "顾言来了", (Entity(0, 2, "name", "顾言"),)) for n in range(3)]
    records += doubtful
    records.append(Record("t-hostile", HOSTILE + "林晓", (Entity(len(HOSTILE), len(HOSTILE) + 2, "name", "林晓"),)))
    write_gold(tmp_path / "train.jsonl", [*records[:30], doubtful[0]])
    folders = []
    for seed, run in enumerate(("first", "second")):
        rng = random.Random(seed)
        answers = {r.id: corrupt(r, LABELS, rng) for r in records}
        answers["t-hostile"] = json.dumps([{"label": HOSTILE, "text": HOSTILE + "</script>"}])
        answers |= {r.id: '[{"label":"movie","text":"顾言"},{"label":"scene","text":"来"}]' for r in doubtful}
        answers["t-3"] = json.dumps([{"label": "scene", "text": records[3].text[1:]}])
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


# --- what the page says, and what it shall say -----------------------------------------------------------------------


def say(key: str, **values: object) -> str:
    return STRINGS["zh"][key].format(**values)


def four(value: float) -> str:
    return f"{value:.4f}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def interval(ends: list[float]) -> str:
    return f"[{four(ends[0])}, {four(ends[1])}]"


def rows(browser: Browser, section: str) -> list[list[str]]:
    """What the cells of a section's tables say, row by row."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(
        (row) => [...row.cells].map((cell) => cell.innerText.trim()))"""
    return browser.run(script, section)


def lines(browser: Browser, section: str) -> list[list[str]]:
    """Name and figure of each line with a bar that stands in no table."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} .row`)].map(
        (row) => [row.firstChild.innerText, row.lastChild.innerText])"""
    return browser.run(script, section)


def filled(browser: Browser, section: str) -> list[float]:
    """The part of each bar's area that is drawn as filled."""
    script = """const area = (node) => { const { width, height } = node.getBoundingClientRect(); return width * height; };
        return [...document.querySelectorAll(`#${arguments[0]} .bar`)].map((bar) => area(bar.firstChild) / area(bar))"""
    return browser.run(script, section)


def near(values: list[float]) -> object:
    return pytest.approx(values, abs=0.005)


def test_headline_and_labels_show_the_scores(report, tmp_path):
    data = embedded(report)
    protocols, names = data["protocols"], dict(data["labels"])
    text, span = protocols["text"]["lenient"], protocols["span"]["lenient"]
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        parts = (browser.texts(f"#headline .card > {part}") for part in ("span:first-child", "b", "span:last-child"))
        assert list(zip(*parts, strict=True)) == [
            ("Micro F1（text）", four(text["micro"]["f1"]), interval(text["intervals"]["micro"])),
            ("严格读取", four(protocols["text"]["strict"]["micro"]["f1"]), say("strict_note")),
            ("CLUENER 官方（text 的 Macro F1）", four(text["macro"]["f1"]), interval(text["intervals"]["macro"])),
            ("Micro F1（span，含位置）", four(span["micro"]["f1"]), interval(span["intervals"]["micro"])),
        ]
        named, plain, faults = browser.texts("#headline p")
        assert named.startswith("text 协议")
        assert plain == say(
            "plain", **{key: round(100 * text["micro"][name]) for key, name in (("p", "precision"), ("r", "recall"))}
        )
        assert faults == say("faults", **data["answers"], **data["mentions"])

        for protocol, reading in product(("text", "span"), ("lenient", "strict")):
            browser.choose("#protocol", protocol)
            browser.choose("#reading", reading)
            scores = protocols[protocol][reading]
            wanted = {f"{names[label]} {label}": scores["labels"][label] for label in LABELS}
            wanted |= {"Macro Avg.": scores["macro"], "Micro Avg.": scores["micro"]}
            assert rows(browser, "labels") == [
                [name, *(four(value[key]) for key in ("precision", "recall", "f1")), "",
                 *([str(value["tp"] + value[key]) for key in ("fn", "fp")] if "tp" in value else ["", ""])]
                for name, value in wanted.items()
            ]  # fmt: skip
            assert filled(browser, "labels") == near([value["f1"] for value in wanted.values()])


def test_errors_show_their_counts(report, tmp_path):
    data = embedded(report)
    names = dict(data["labels"])
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        classes = data["classes"]
        assert all(classes.values())
        assert lines(browser, "classes") == [
            [say("label_class" if kind == "label" else kind), str(number)] for kind, number in classes.items()
        ]
        assert filled(browser, "classes") == near([number / max(classes.values()) for number in classes.values()])
        assert f" {data['correct']} " in browser.texts("#classes .note")[0]

        assert rows(browser, "confusion") == [
            [name, *(str(number or "") for number in counts)]
            for name, counts in zip([*names.values(), say("not_in_gold")], data["confusion"], strict=True)
        ]

        groups = [
            (say(name) if part == "frequency" else name, value)
            for part in ("sentence_length", "mention_length", "frequency")
            for name, value in data["breakdowns"][part]
        ]
        assert "span 协议" in browser.texts("#breakdowns .note")[0]
        assert lines(browser, "breakdowns") == [
            [f"{name} ({value['tp'] + value['fn']})", four(value["f1"])] for name, value in groups
        ]
        assert filled(browser, "breakdowns") == near([value["f1"] for _, value in groups])

        doubted = rows(browser, "suspects")
        assert doubted == [
            [s["surface"], *(names.get(s[side], "不是实体") for side in ("gold", "model")), str(s["count"]),
             f"{s['training_gold']} : {s['training_model']}"]
            for s in data["suspects"]
        ]  # fmt: skip
        assert ["顾言", names["name"], names["movie"], "3", "1 : 0"] in doubted
        assert ["来", "不是实体", names["scene"], "3", "0 : 0"] in doubted
        browser.click("#suspects button")
        assert count(browser) == sum(data["suspects"][0]["surface"] in e["text"] for e in data["examples"])


def test_comparison_and_details_show_their_figures(report, tmp_path):
    data = embedded(report)
    other, names = data["comparison"], dict(data["labels"])
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        assert browser.texts("#comparison h2") == ["与 second 比较"]
        note, lead = browser.texts("#comparison > p")
        assert "text 协议" in note
        assert f" {other['sentences']} " in note
        f1, low, high, p = (other["difference"][key] for key in ("f1", "low", "high", "p"))
        assert lead == (
            f"Micro F1 {four(other['f1'][0])} → {four(other['f1'][1])}: {signed(f1)} [{signed(low)}, {signed(high)}], "
            f"p = {p:.3f}; {say('significant' if p < 0.05 else 'not_significant')}"
        )
        assert rows(browser, "comparison") == [
            [names[label], four(one), four(two), signed(two - one)] for label, one, two in other["labels"]
        ]
        for number, part in enumerate(("fixed", "broken"), 1):
            details = f"#comparison details:nth-of-type({number})"
            browser.click(f"{details} summary")
            assert browser.texts(f"{details} summary") == [f"{say(part, name='second')} ({other[part]['count']})"]
            shown = browser.texts(f"{details} .example > small")
            assert shown == [example["id"] for example in other[part]["examples"]]
            assert len(shown) == other[part]["count"] > 0

        outcomes = ("correct", "incorrect", "partial", "missed", "spurious")
        modes = [
            [
                mode,
                *(str(value[key]) for key in outcomes),
                *(four(value[key]) for key in ("precision", "recall", "f1")),
            ]
            for mode, value in data["modes"].items()
        ]
        counts = [[say(key), str(value)] for part in ("answers", "mentions") for key, value in data[part].items()]
        run = [
            [key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))]
            for key, value in data["run"].items()
        ]
        assert rows(browser, "details") == modes + counts + run


# --- languages, paper, use -------------------------------------------------------------------------------------------


def test_a_partial_report_opens_in_english_and_says_what_is_missing(make_run, ner_eval, tmp_path):
    records = sentences()[:3]
    selection = {"limit": 3, "sample": None, "seed": None}
    folder = make_run(records, {"t-0": "[]", "t-1": "[]"}, LABELS, selection=selection)
    ended = ner_eval("report", folder, "--partial", "--lang", "en", "--no-png")
    assert ended.code == 0, ended.err
    with chromium(tmp_path / "profile") as browser:
        browser.open(folder / "report.html")
        assert browser.run("return document.documentElement.lang") == "en"
        assert browser.texts("h2") == ["Result", "Labels", "Classes of error", "Confusion between labels", "Where it errs",
                                       "Sentences with errors", "Likely annotation errors", "Details"]  # fmt: skip
        assert browser.texts("#headline p")[0].startswith("Protocol text:")
        assert browser.texts("#headline .warning") == [
            "Incomplete: 1 records have no answer yet and are left out of every figure.",
            "Only a part of the split was asked: limit 3.",
        ]
        assert browser.texts("#breakdowns div > .note") == ["No gold of a training split; name it with --train."]
        assert [row[0] for row in rows(browser, "labels")] == [*LABELS, "Macro Avg.", "Micro Avg."]
        browser.click("#language")
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        assert "错误类型" in browser.texts("h2")


@pytest.mark.parametrize("chosen", [False, True], ids=["dark system", "dark by its button"])
def test_the_report_prints_black_on_white_and_within_the_paper(report, tmp_path, chosen):
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        browser.click("#language")
        if chosen:
            browser.click("#theme")
        scheme = {"name": "prefers-color-scheme", "value": "light" if chosen else "dark"}
        # A4 without its margins of 1 cm.
        paper = {"width": 718, "height": 1047, "deviceScaleFactor": 1, "mobile": False}
        browser._cdp("Emulation.setDeviceMetricsOverride", paper)
        browser._cdp("Emulation.setEmulatedMedia", {"media": "print", "features": [scheme]})
        keep(browser, f"print-{'chosen' if chosen else 'system'}", tmp_path)

        style = "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        assert browser.run(style) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        # Red, green, blue and, of some, opacity: text is dark, and what stands behind text is light or a tint.
        colours = r"""const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
            return [...document.querySelectorAll('#page *:not(.bar i)')].filter((node) => node.checkVisibility()).map(
                (node) => { const style = getComputedStyle(node); return [style.color, style.backgroundColor].map(numbers); })"""
        for ink, ground in browser.run(colours):
            assert max(ink) < 150, ink
            opacity = ground[3] if len(ground) == 4 else 1
            assert min(ground[:3]) > 190 or opacity < 0.7, ground

        shown = "return [...document.querySelectorAll(arguments[0])].filter((node) => node.checkVisibility()).length"
        assert browser.run(shown, "h2") == 9
        assert browser.run(shown, ".filters, select, input, header button, #more") == 0
        wide = """return [...document.querySelectorAll('#page *')].filter((node) =>
            node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))"""
        assert browser.run(wide) == []
        assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [718, 718]
        assert browser.pdf().startswith(b"%PDF")


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
