"""What a report holds, and that strangers' text cannot break out of it."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from ner_data.alignment import align
from ner_data.gold import Entity, Mention, Parsed, Record, write_gold
from ner_eval.metrics.loaded_run import Answered
from ner_eval.reporting import breakdown, markdown, plot
from ner_eval.reporting import html as page
from ner_eval.reporting.mention_errors import CLASSES, Pair, pair
from ner_eval.reporting.suspects import Suspect, suspects
from support import ROOT, one_line_error

TEXT = "林晓在云帆科技任经理"
GOLD = (Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技"), Entity(8, 10, "position", "经理"))
LABELS = ("name", "company", "position")


def answered(*mentions: tuple[str, str], text: str = TEXT, gold: tuple[Entity, ...] = GOLD) -> Answered:
    named = tuple(Mention(*mention) for mention in mentions)
    return Answered(Record("r", text, gold), "", Parsed(named), tuple(align(named, text)), False)


def kinds(item: Answered) -> list[str]:
    return [found.kind for found in pair(item)]


@pytest.mark.parametrize(
    ("mentions", "expected"),
    [
        ([("name", "林晓"), ("company", "云帆科技"), ("position", "经理")], ["correct"] * 3),
        ([], ["missed"] * 3),
        ([("name", "林"), ("company", "云帆科技"), ("position", "经理")], ["boundary", "correct", "correct"]),
        ([("company", "林晓"), ("company", "云帆科技"), ("position", "经理")], ["label", "correct", "correct"]),
        ([("name", "林晓"), ("name", "云帆"), ("position", "经理")], ["correct", "boundary_label", "correct"]),
        ([("name", "林晓"), ("name", "在")], ["correct", "spurious", "missed", "missed"]),
        ([("name", "王晓")], ["missed", "missed", "missed", "hallucinated"]),
        ([("name", "林晓"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理")],
         ["correct", "spurious", "correct", "correct"]),
        # The exact match takes the gold mention although a near one is named first.
        ([("name", "林"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理")],
         ["spurious", "correct", "correct", "correct"]),
    ],
)  # fmt: skip
def test_every_mention_falls_into_one_class(mentions, expected):
    assert kinds(answered(*mentions)) == expected


def test_groups_add_up_to_the_whole():
    pairs = pair(answered(("name", "林"), ("company", "云帆科技"), ("position", "经"), ("name", "张三")))
    training = Counter({"林晓": 1, "云帆科技": 9})
    groups = [
        breakdown.by_sentence_length([(TEXT, pairs)]),
        breakdown.by_mention_length(pairs),
        breakdown.by_frequency(pairs, training),
    ]
    for counts in groups:
        total = [sum(getattr(c, name) for c in counts.values()) for name in ("tp", "fp", "fn")]
        assert total == [1, 3, 2]
    assert {name: (c.tp, c.fp, c.fn) for name, c in groups[2].items()} == {
        "unseen": (0, 3, 1),
        "rare": (0, 0, 1),
        "common": (1, 0, 0),
    }


def test_the_edges_of_groups_are_inclusive():
    names = breakdown.interval_names((10, 20))
    assert names == ["1-10", "11-20", "21+"]
    for length, name in ((10, "1-10"), (11, "11-20"), (20, "11-20"), (101, "101+")):
        text = "甲" * length
        pairs = [Pair("missed", Entity(0, 1, "name", "甲"), None)]
        assert list(breakdown.by_sentence_length([(text, pairs)])) == [name]


def test_a_consistent_disagreement_that_repeats_is_a_suspect():
    wrong = answered(("company", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    right = answered(*((e.label, e.text) for e in GOLD))
    found = suspects([("a", pair(wrong)), ("b", pair(wrong))], Counter())
    assert found == [Suspect("林晓", "name", "company", 2, ("a", "b"), 0, 0)]
    assert suspects([("a", pair(wrong))], Counter()) == []
    assert suspects([("a", pair(wrong)), ("b", pair(right)), ("c", pair(wrong))], Counter()) == []


def test_a_mention_that_the_answer_repeats_says_nothing_about_gold():
    repeated = answered(("name", "林晓"), ("name", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    assert kinds(repeated).count("spurious") == 1
    assert suspects([("a", pair(repeated)), ("b", pair(repeated))], Counter()) == []


def test_training_that_sides_with_the_model_makes_one_disagreement_a_suspect():
    wrong = answered(("company", "林晓"), ("company", "云帆科技"), ("position", "经理"))
    sided = Counter({("林晓", "company"): 3, ("林晓", "name"): 1})
    assert [s.training_model for s in suspects([("a", pair(wrong))], sided)] == [3]
    assert suspects([("a", pair(wrong))], Counter({("林晓", "company"): 3, ("林晓", "name"): 3})) == []


def gold_answer(record: Record, **labels: str) -> str:
    items = [{"label": labels.get(e.label, e.label), "text": e.text} for e in record.gold]
    return json.dumps(items, ensure_ascii=False)


def data_of(folder) -> dict:
    html = (folder / "report.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture
def reported(make_run, ner_eval):
    """Twelve sentences, three of them wrong, reported without the plot."""
    records = [Record(f"t-{n}", TEXT, GOLD) for n in range(12)]
    answers = {r.id: gold_answer(r) for r in records}
    answers |= {"t-3": gold_answer(records[3], name="company"), "t-5": "不知道", "t-7": "[]"}
    folder = make_run(records, answers, LABELS)
    ended = ner_eval("report", folder, "--no-png")
    assert ended.code == 0, ended.err
    return folder, ended


def test_the_report_holds_the_scores_and_every_class(reported):
    folder, ended = reported
    data = data_of(folder)
    assert data["classes"] == {**dict.fromkeys(CLASSES, 0), "missed": 6, "label": 1}
    assert data["correct"] == 29
    assert data["confusion"][0] == [9, 1, 0, 0, 2]
    scores = json.loads((folder / "scores.json").read_text("utf-8"))["readings"]["lenient"]["text"]
    for label in LABELS:
        told = data["protocols"]["text"]["lenient"]["labels"][label]
        assert {key: told[key] for key in ("tp", "fp", "fn")} == scores[label]
    assert [e["id"] for e in data["examples"]] == ["t-3", "t-5", "t-7"]
    assert data["examples"][1]["answer"] == "不知道"
    assert "3 of 12 sentences have errors, 3 of them are shown" in ended.out
    assert "no gold of a training split" in ended.out


def test_the_page_asks_no_network_for_anything(reported):
    html = (reported[0] / "report.html").read_text("utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", html)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", re.sub(r"<script type=.*", "", html))


def test_the_examples_can_be_cut_and_the_report_says_so(reported, ner_eval):
    folder, _ = reported
    out = ner_eval("report", folder, "--no-png", "--examples", "2").out
    assert "3 of 12 sentences have errors, 2 of them are shown" in out
    data = data_of(folder)
    assert (len(data["examples"]), data["wrong_sentences"], data["classes"]["missed"]) == (2, 3, 6)


def test_training_frequencies_come_from_the_train_file(reported, ner_eval, tmp_path):
    folder, _ = reported
    write_gold(tmp_path / "train.jsonl", [Record("x", TEXT, GOLD[:1])])
    ner_eval("report", folder, "--no-png")
    groups = dict(data_of(folder)["breakdowns"]["frequency"])
    assert {name: value["tp"] for name, value in groups.items()} == {"unseen": 20, "rare": 9}
    message = one_line_error(ner_eval("report", folder, "--train", tmp_path / "absent.jsonl"))
    assert "absent.jsonl: no such file" in message


def test_a_report_compares_two_runs(reported, make_run, ner_eval):
    folder, _ = reported
    records = [Record(f"t-{n}", TEXT, GOLD) for n in range(12)]
    answers = {r.id: gold_answer(r) for r in records} | {"t-0": "[]"}
    other = make_run(records, answers, LABELS, name="other")
    assert ner_eval("report", folder, "--no-png", "--compare", other).code == 0
    compared = data_of(folder)["comparison"]
    assert (compared["fixed"]["count"], compared["broken"]["count"]) == (3, 1)
    assert compared["difference"]["f1"] > 0
    assert "### Against other\n\nProtocol text, lenient reading: micro F1 0." in (folder / "report.md").read_text(
        "utf-8"
    )


def test_another_gold_cannot_be_compared_and_nothing_is_written(reported, make_run, ner_eval):
    folder, _ = reported
    before = (folder / "report.html").read_bytes()
    records = [Record("t-0", "别的句子", ())]
    other = make_run(records, {"t-0": "[]"}, LABELS, name="other")
    assert "another gold file" in one_line_error(ner_eval("report", folder, "--no-png", "--compare", other))
    assert (folder / "report.html").read_bytes() == before


def test_the_markdown_has_the_table_and_the_headline(reported):
    text = (reported[0] / "report.md").read_text("utf-8")
    assert "| name | 0.9000 | 0.7500 | 0.8182 |" not in text
    assert "| name | 1.0000 | 0.7500 | 0.8571 |" in text
    assert "| **Micro Avg.** |" in text
    assert "| label | 1 |" in text


HOSTILE = "<script>alert(1)</script><!--</script>\u202e|`*_\u2028[x](javascript:1)\x00&amp;{{data}}"


def test_hostile_text_cannot_end_a_script_element_or_start_markup(make_run, ner_eval):
    text = HOSTILE.replace("\x00", "") + "甲"
    record = Record("t-1", text, (Entity(0, 8, "name", text[:8]),))
    answer = json.dumps([{"label": HOSTILE, "text": HOSTILE}, {"label": "name", "text": "甲"}])
    folder = make_run([record], {"t-1": answer}, ("name", "<b>x</b>"))
    assert ner_eval("report", folder, "--no-png").code == 0
    html = (folder / "report.html").read_text("utf-8")
    assert html.count("</script>") == 3
    assert "<script>alert" not in html
    assert "<!--" not in html
    assert "\u2028" not in html
    assert data_of(folder)["examples"][0]["text"] == text
    shown = (folder / "report.md").read_text("utf-8")
    assert "<b>" not in shown
    assert "\u202e" not in shown


def test_embedded_json_comes_back_whole():
    value = {"a": [HOSTILE, "</SCRIPT ", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]}
    text = page.embed(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_markdown_shows_text_literally_on_one_line():
    assert markdown.escape("a|b\n`c` \u202e<b>") == r"a\|bU\+000A \`c\` U\+202E \<b\>"


def test_the_template_never_fills_in_what_data_says(reported):
    html = (reported[0] / "report.html").read_text("utf-8")
    assert "{{" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert page._fill("a{{x}}b{{y}}", {"x": "{{y}}", "y": "2"}) == "a{{y}}b2"


def test_both_languages_say_the_same_things():
    strings = json.loads((ROOT / "eval/ner_eval/reporting/page/strings.json").read_text("utf-8"))
    assert strings["zh"].keys() == strings["en"].keys()
    for key, text in strings["zh"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", strings["en"][key])), key
    scripts = "".join((ROOT / "eval/ner_eval/reporting/page" / name).read_text("utf-8") for name in page.SCRIPTS)
    assert set(re.findall(r'\bsay\("(\w+)"', scripts)) <= strings["zh"].keys()
    assert {f"{kind}_note" for kind in CLASSES} <= strings["zh"].keys()


@pytest.fixture
def chinese_font(tmp_path) -> Path:
    """A font that has Chinese characters, all of them blank: the machine may have no other."""
    characters = {*range(0x20, 0x7F), 0xB7, *range(0x2000, 0x2070), *range(0x3000, 0xA000), *range(0xFF00, 0xFF60)}
    glyphs = (".notdef", "blank")
    font = FontBuilder(1000)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap(dict.fromkeys(characters, "blank"))
    font.setupGlyf({name: TTGlyphPen(None).glyph() for name in glyphs})
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Blank", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "blank.ttf")
    return tmp_path / "blank.ttf"


def draw_and_check(folder, ner_eval, recwarn) -> None:
    ended = ner_eval("report", folder, "--png")
    assert ended.code == 0, ended.err
    assert (folder / "f1.png").read_bytes().startswith(b"\x89PNG")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_the_plot_is_drawn_with_the_font_that_has_chinese_characters(
    reported, ner_eval, monkeypatch, recwarn, chinese_font
):
    without = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(without), str(chinese_font)])
    draw_and_check(reported[0], ner_eval, recwarn)


@pytest.mark.slow
def test_the_plot_is_drawn_with_a_font_of_this_machine(reported, ner_eval, recwarn):
    """Fails where there is none, and says which packages have one."""
    draw_and_check(reported[0], ner_eval, recwarn)


def test_without_a_font_the_report_is_written_and_says_what_is_missing(reported, ner_eval, monkeypatch):
    folder, _ = reported
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    ended = ner_eval("report", folder)
    assert ended.code == 0
    assert "no f1.png: the plot needs a font with Chinese characters" in ended.out
    assert not (folder / "f1.png").exists()
    assert "fonts-noto-cjk" in one_line_error(ner_eval("report", folder, "--png"))
    assert plot._REMEDY in ended.out


def test_without_matplotlib_the_report_is_written_and_says_what_is_missing(reported, ner_eval, monkeypatch):
    folder, _ = reported
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = ner_eval("report", folder)
    assert ended.code == 0
    assert "no f1.png: the plot needs matplotlib; `pip install matplotlib`" in ended.out
    assert "pip install matplotlib" in one_line_error(ner_eval("report", folder, "--png"))


def test_reports_do_not_depend_on_the_order_of_answers(reported, ner_eval):
    folder, _ = reported
    before = (folder / "report.html").read_bytes()
    path = folder / "predictions.jsonl"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    ner_eval("report", folder, "--no-png")
    assert (folder / "report.html").read_bytes() == before
