"""The contents of a report, and that untrusted text cannot break out of it."""

import json
import re

import msgspec

from ner_common.pages import fill
from ner_data.gold import Entity, Record, write_gold
from ner_eval.metrics.results import Answers, MentionCounts
from ner_eval.reporting import html as page
from ner_eval.reporting.mention_errors import CLASSES
from report_page import GOLD, STRINGS, TEXT, data_of, gold_answer
from support import ROOT, one_line_error

LABELS = ("name", "company", "position")


def test_the_report_holds_the_scores_and_every_class(reported):
    folder, ended = reported
    data = data_of(folder / "report.html")
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
    data = data_of(folder / "report.html")
    assert (len(data["examples"]), data["wrong_sentences"], data["classes"]["missed"]) == (2, 3, 6)


def test_training_frequencies_come_from_the_train_file(reported, ner_eval, tmp_path):
    folder, _ = reported
    write_gold(tmp_path / "train.jsonl", [Record("x", TEXT, GOLD[:1])])
    ner_eval("report", folder, "--no-png")
    groups = dict(data_of(folder / "report.html")["breakdowns"]["frequency"])
    assert {name: value["tp"] for name, value in groups.items()} == {"unseen": 20, "rare": 9}
    message = one_line_error(ner_eval("report", folder, "--train", tmp_path / "absent.jsonl"))
    assert "absent.jsonl: no such file" in message


def test_a_report_compares_two_runs(reported, make_run, ner_eval):
    folder, _ = reported
    records = [Record(f"t-{n}", TEXT, GOLD) for n in range(12)]
    answers = {r.id: gold_answer(r) for r in records} | {"t-0": "[]"}
    other = make_run(records, answers, LABELS, name="other")
    assert ner_eval("report", folder, "--no-png", "--compare", other).code == 0
    compared = data_of(folder / "report.html")["comparison"]
    assert (compared["fixed"]["count"], compared["broken"]["count"]) == (3, 1)
    assert compared["difference"]["f1"] > 0
    assert "### 与 other 比较\n\nMicro F1 0\\." in (folder / "report.md").read_text("utf-8")


def test_another_gold_cannot_be_compared_and_nothing_is_written(reported, make_run, ner_eval):
    folder, _ = reported
    before = (folder / "report.html").read_bytes()
    records = [Record("t-0", "别的句子", ())]
    other = make_run(records, {"t-0": "[]"}, LABELS, name="other")
    assert "different gold file" in one_line_error(ner_eval("report", folder, "--no-png", "--compare", other))
    assert (folder / "report.html").read_bytes() == before


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
    assert data_of(folder / "report.html")["examples"][0]["text"] == text
    shown = (folder / "report.md").read_text("utf-8")
    assert "<b>" not in shown
    assert "\u202e" not in shown


def test_embedded_json_comes_back_whole():
    value = {"a": [HOSTILE, "</SCRIPT ", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]}
    text = page.embed(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_template_never_fills_in_what_data_says(reported):
    html = (reported[0] / "report.html").read_text("utf-8")
    assert "{{" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert fill("a{{x}}b{{y}}", {"x": "{{y}}", "y": "2"}) == "a{{y}}b2"


def test_both_languages_say_the_same_things():
    assert STRINGS["zh"].keys() == STRINGS["en"].keys()
    for key, text in STRINGS["zh"].items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", STRINGS["en"][key])), key
    scripts = "".join((ROOT / "eval/ner_eval/reporting/page" / name).read_text("utf-8") for name in page.SCRIPTS)
    assert set(re.findall(r'\bsay\("(\w+)"', scripts)) <= STRINGS["zh"].keys()
    assert {f"{kind}_note" for kind in CLASSES} <= STRINGS["zh"].keys()


def test_no_string_is_left_over():
    """Each key is named in a script or a module, or is one of a group whose names are computed."""
    folder = ROOT / "eval/ner_eval/reporting"
    sources = "".join(path.read_text("utf-8") for path in (*folder.glob("*.py"), *folder.glob("page/*.js")))
    named = set(re.findall(r"\w+", sources)) | {f"{kind}_note" for kind in CLASSES} | {"micro_f1", "macro_f1"}
    fields = {field.name for kind in (Answers, MentionCounts) for field in msgspec.structs.fields(kind)}
    assert STRINGS["zh"].keys() - named - fields == set()


def test_reports_do_not_depend_on_the_order_of_answers(reported, ner_eval):
    folder, _ = reported
    before = (folder / "report.html").read_bytes()
    path = folder / "predictions.jsonl"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    ner_eval("report", folder, "--no-png")
    assert (folder / "report.html").read_bytes() == before


def test_every_section_is_drawn_has_its_words_in_both_languages_and_its_data(reported) -> None:
    """What a new section needs: a function in a script of the page, its place in `drawn`, its words, its data."""
    folder = ROOT / "eval/ner_eval/reporting/page"
    scripts = "".join((folder / name).read_text("utf-8") for name in page.SCRIPTS)
    bodies = dict(re.findall(r"^function (\w+)\(\) \{\n(.*?)^\}", scripts, re.DOTALL | re.MULTILINE))
    sections = {
        name: found[1] for name, body in bodies.items() if (found := re.search(r'return section\("(\w+)"', body))
    }
    (drawn,) = re.findall(r"const drawn = \[(.*?)\]", (folder / "main.js").read_text("utf-8"))
    assert sorted(drawn.split(", ")) == sorted(sections) and len(sections) >= 10
    strings = json.loads((folder / "strings.json").read_text("utf-8"))
    assert all(strings[language][identity] for language in ("zh", "en") for identity in sections.values())
    data = data_of(reported[0] / "report.html")
    for name in sections:
        assert set(re.findall(r"\bdata\.(\w+)", bodies[name])) <= set(data), name
    assert {path.name for path in folder.glob("*.js")} == set(page.SCRIPTS)
