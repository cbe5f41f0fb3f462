"""report.md: the report's figures in the page's words, in both languages."""

import json
import re

import pytest

from ner_data.gold import Entity, Record
from ner_eval.reporting import markdown
from ner_eval.reporting.mention_errors import CLASSES
from report_page import STRINGS, data_of, said, say

# Internal names, which mean nothing to a reader.
RAW = re.compile(
    r"\b(boundary_label|without_gold|bad_item|unknown_label|label_class|training_gold|hallucinated_note)\b"
)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_markdown_has_the_table_and_the_headline(reported, ner_eval, language):
    folder, _ = reported
    assert ner_eval("report", folder, "--no-png", "--lang", language).code == 0
    text = (folder / "report.md").read_text("utf-8")
    data = data_of(folder / "report.html")
    name = {"zh": "姓名", "en": "name"}[language]
    assert f"| {name} | 0.9000 | 0.7500 | 0.8182 |" not in text
    assert f"| {name} | 1.0000 | 0.7500 | 0.8571 | 12 | 9 |" in text
    assert "| **Micro Avg.** |" in text
    assert f"| {say('label_class', language)} | 1 |" in text
    assert f"| {say('boundary_label', language)} | 0 |" in text
    sums = data["protocols"]["text"]["lenient"]["sums"] + [
        s for part in ("classes", "modes", "answers") for s in data["sums"][part]
    ]
    for line in said(sums, language):
        assert markdown.escape(line) in text


@pytest.mark.parametrize(("language", "other"), [("zh", "en"), ("en", "zh")])
def test_the_markdown_speaks_one_language_and_shows_no_raw_keys(reported, ner_eval, language, other):
    folder, _ = reported
    assert ner_eval("report", folder, "--no-png", "--lang", language).code == 0
    text = (folder / "report.md").read_text("utf-8").replace("\\", "")
    assert not RAW.search(text)
    for key in ("classes", "answers", "details", "precision", *CLASSES):
        key = "label_class" if key == "label" else key
        assert STRINGS[language][key] in text
        assert STRINGS[other][key] not in text


def test_the_comparison_is_in_the_markdown(make_run, ner_eval):
    records = [Record("t-0", "林晓", (Entity(0, 2, "name", "林晓"),))]
    folders = [make_run(records, {"t-0": answer}, name=f"run-{n}") for n, answer in enumerate(("[]", "[]"))]
    assert ner_eval("report", folders[0], "--no-png", "--compare", folders[1], "--lang", "en").code == 0
    text = (folders[0] / "report.md").read_text("utf-8")
    assert "### Compared with run\\-1\n\nMicro F1 0\\.0000 → 0\\.0000: " in text
    assert "1 sentences = 0 right in both" in text


@pytest.mark.parametrize(("corpus", "official"), [("cluener", True), ("demo", False)])
def test_the_official_score_is_called_so_for_its_own_corpus_only(reported, ner_eval, corpus, official):
    folder, _ = reported
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "corpus": corpus}), "utf-8")
    assert ner_eval("report", folder, "--no-png", "--lang", "en").code == 0
    titles = [headline["title"]["en"] for headline in data_of(folder / "report.html")["headlines"]]
    text = (folder / "report.md").read_text("utf-8")
    assert any(title.startswith("official CLUENER") for title in titles) == official
    assert ("official CLUENER" in text) == official
    assert ("mean over labels of the protocol text" in text) != official


def test_markdown_shows_text_literally_on_one_line():
    assert markdown.escape("a|b\n`c` \u202e<b>") == r"a\|bU\+000A \`c\` U\+202E \<b\>"
