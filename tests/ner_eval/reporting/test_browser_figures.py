"""The figures of the report in a real headless Chromium."""

import pytest

from browser import chromium
from ner_data.gold import Entity, Record
from report_page import (
    LABELS,
    count,
    data_of,
    filled,
    four,
    interval,
    lines,
    near,
    rows,
    said,
    say,
    signed,
)

pytestmark = pytest.mark.slow


def table_of(scores: dict, names: dict) -> list[list[str]]:
    """The rows expected from a protocol's counts."""
    wanted = {f"{names[label]} {label}": scores["labels"][label] for label in LABELS}
    if scores["labels"][""]["fp"]:
        unknown = scores["labels"][""]
        wanted[say("other_label")] = {**unknown, "precision": None, "recall": None, "f1": None}
    wanted |= {"Macro Avg.": scores["macro"], "Micro Avg.": scores["micro"]}
    return [
        [name, *(four(value[key]) for key in ("precision", "recall", "f1")), "",
         *([str(value["tp"] + value[key]) for key in ("fn", "fp")] if "tp" in value else ["", ""])]
        for name, value in wanted.items()
    ]  # fmt: skip


def test_one_figure_leads_and_the_others_are_quiet(report, tmp_path):
    data = data_of(report)
    text, span = data["protocols"]["text"], data["protocols"]["span"]["lenient"]
    titles = {headline["name"]: headline["title"]["zh"] for headline in data["headlines"]}
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        micro = text["lenient"]["micro"]
        assert browser.texts("#headline .main > *") == [
            "Micro F1", four(micro["f1"]), interval(text["lenient"]["intervals"]["micro"])
        ]  # fmt: skip
        parts = (browser.texts(f"#headline .figures li > :nth-child({n})") for n in (1, 2, 3))
        assert list(zip(*parts, strict=True)) == [
            (four(text["strict"]["micro"]["f1"]), "", "Micro F1 · text，严格解析"),
            (four(span["micro"]["f1"]), interval(span["intervals"]["micro"]), f"Micro F1 · {titles['span']}"),
            (four(text["lenient"]["macro"]["f1"]), interval(text["lenient"]["intervals"]["macro"]),
             "Macro F1 · text 协议各类别的宏平均；除零记 0"),
        ]  # fmt: skip
        named, plain, strict = browser.texts("#headline p:not(.main)")
        assert named.startswith(titles["text"])
        assert plain == say("plain", p=round(100 * micro["precision"]), r=round(100 * micro["recall"]))
        assert strict == say("strict_note")
        sizes = browser.run("""return [...document.querySelectorAll('#page *')].filter((node) => /^\\d\\.\\d{4}$/.test(node.textContent))
            .map((node) => parseFloat(getComputedStyle(node).fontSize))""")
        large = [size for size in sizes if size > 18]
        assert len(large) == 1
        assert "CLUENER" not in browser.run("return document.getElementById('headline').innerText")


def test_every_protocol_and_reading_has_its_table(report, tmp_path):
    data = data_of(report)
    protocols, names = data["protocols"], dict(data["labels"])
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        leading = protocols["text"]["lenient"]
        assert rows(browser, "#labels") == table_of(leading, names)
        counts = [[int(cell) for cell in row[5:]] for row in rows(browser, "#labels") if row[5]]
        # The rows add up to the last one, labels outside the set included.
        assert [sum(column) for column in zip(*counts[:-1], strict=True)] == counts[-1]
        figures = [leading["labels"][label]["f1"] or 0 for label in LABELS]
        figures += [0] if leading["labels"][""]["fp"] else []
        assert filled(browser, "#labels") == near([*figures, leading["macro"]["f1"], leading["micro"]["f1"]])
        assert browser.texts("#labels > .sum")[:2] == said(leading["sums"])

        for protocol, reading in (("text", "strict"), ("span", "lenient"), ("span", "strict")):
            scores, details = protocols[protocol][reading], f"#protocol-{protocol}-{reading}"
            summary = browser.texts(f"{details} summary")[0]
            assert summary.startswith(f"{protocol}（") and summary.endswith(four(scores["micro"]["f1"]))
            assert rows(browser, details) == []
            browser.click(f"{details} summary")
            assert rows(browser, details) == table_of(scores, names)
            assert browser.texts(f"{details} .sum")[:2] == said(scores["sums"])
        browser.click("#protocol-official summary")
        assert browser.texts("#protocol-official .sum") == [say("same_counts", name="text", average="Macro F1")]
        assert rows(browser, "#protocol-official") == []


def test_errors_show_their_counts(report, tmp_path):
    data = data_of(report)
    names = dict(data["labels"])
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        classes = data["classes"]
        assert all(classes.values())
        assert lines(browser, "classes") == [
            [f"{say('label_class' if kind == 'label' else kind)}\n{say(f'{kind}_note')}", str(number)]
            for kind, number in classes.items()
        ]
        assert filled(browser, "#classes") == near([number / max(classes.values()) for number in classes.values()])
        assert browser.texts("#classes .sum") == said(data["sums"]["classes"])

        assert rows(browser, "#confusion") == [
            [name, *(str(number or "") for number in counts)]
            for name, counts in zip([*names.values(), say("not_in_gold")], data["confusion"], strict=True)
        ]

        assert browser.texts("#confusion .sum") == said(data["sums"]["confusion"])

        groups = [
            (say(name) if part == "frequency" else name, value)
            for part in ("sentence_length", "mention_length", "frequency")
            for name, value in data["breakdowns"][part]
        ]
        assert browser.texts("#breakdowns .sum") == said(data["sums"]["breakdowns"])
        assert "span 协议" in browser.texts("#breakdowns .sum")[0]
        assert lines(browser, "breakdowns") == [
            [f"{name} ({value['tp'] + value['fn']})", four(value["f1"])] for name, value in groups
        ]
        assert filled(browser, "#breakdowns") == near([value["f1"] for _, value in groups])

        doubted = rows(browser, "#suspects")
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
    data = data_of(report)
    other, names = data["comparison"], dict(data["labels"])
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        assert browser.texts("#comparison h2") == ["与 second 比较"]
        note, lead = browser.texts("#comparison > p:not(.sum, .hint)")
        assert note.startswith("text（")
        assert f" {other['sentences']} " in note
        f1, low, high, p = (other["difference"][key] for key in ("f1", "low", "high", "p"))
        assert lead == "".join([
            say("change", one=four(other["f1"][0]), two=four(other["f1"][1])), signed(f1),
            say("spread", low=signed(low), high=signed(high), p=f"{p:.3f}"),
            say("significant" if p < 0.05 else "not_significant"),
        ])  # fmt: skip
        assert rows(browser, "#comparison") == [
            [names[label], four(one), four(two), signed(None if None in (one, two) else two - one)]
            for label, one, two in other["labels"]
        ]
        assert browser.texts("#comparison > .sum") == said(other["sums"])
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
        browser.click("#modes summary")
        assert rows(browser, "#modes") == modes
        assert browser.texts("#modes .sum") == said(data["sums"]["modes"])
        counts = [[say(key), str(value)] for part in ("answers", "mentions") for key, value in data[part].items()]
        assert rows(browser, "#answers") == counts
        assert browser.texts("#answers .sum") == said(data["sums"]["answers"])


def test_the_facts_of_the_run_are_a_list(report, tmp_path):
    data = data_of(report)
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        facts = [row for group in data["run"]["facts"] for row in group["rows"]]
        shown = [say(v["say"], **v["with"]) if isinstance(v, dict) else v or "未记录" for _, v in facts]
        assert browser.texts("#details dt") == [say(key) for key, _ in facts]
        assert browser.texts("#details dd") == shown
        assert browser.texts("#details h3") == ["运行", "训练", "语料", "提示词"]
        browser.click("#prompt-text summary")
        assert browser.texts("#prompt-text .answer")[0].split() == ["系统", "抽取"]


def test_shades_of_the_confusion_matrix_follow_the_counts_on_one_scale(report, tmp_path):
    script = """return [...document.querySelectorAll('#confusion tbody tr')].flatMap((row, r) => [...row.cells].slice(1)
        .filter((cell) => cell.innerText).map((cell) => [r, cell.cellIndex - 1, Number(cell.innerText),
            getComputedStyle(cell).backgroundColor.match(/[\\d.]+/g).map(Number)]))"""
    with chromium(tmp_path / "profile") as browser:
        browser.open(report)
        cells = browser.run(script)
        shades = {True: set(), False: set()}
        for row, column, number, (*hue, opacity) in cells:
            shades[row == column and row < len(LABELS)].add((number, opacity, tuple(hue)))
        assert all(len({hue for *_, hue in kind}) == 1 for kind in shades.values())
        assert {hue for *_, hue in shades[True]} != {hue for *_, hue in shades[False]}
        scale = sorted({(number, opacity) for kind in shades.values() for number, opacity, _ in kind})
        # One shade per count, whatever its row, and darker with every step.
        assert len({number for number, _ in scale}) == len(scale) > 4
        assert [opacity for _, opacity in scale] == sorted({opacity for _, opacity in scale})


def test_a_label_without_gold_and_predictions_has_a_dash(make_run, ner_eval, tmp_path):
    record = Record("t", "林晓来了", (Entity(0, 2, "name", "林晓"),))
    folder = make_run([record], {"t": '[{"label":"name","text":"林晓"}]'}, ("name", "movie"))
    assert ner_eval("report", folder, "--no-png").code == 0
    with chromium(tmp_path / "profile") as browser:
        browser.open(folder / "report.html")
        assert rows(browser, "#labels")[1] == ["电影 movie", "–", "–", "–", "", "0", "0"]
        assert rows(browser, "#labels")[2][:4] == ["Macro Avg.", "0.5000", "0.5000", "0.5000"]
        assert browser.texts("#labels > .sum")[-1] == say("undefined", labels="电影")
