"""Corpus descriptions: those of the repository are complete, and a user's mistakes are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import load_corpus
from ner_data.corpus import Label
from support import ROOT, Result, one_line_error

DEMO = """name: my
title: Mine
source: my desk
licence: none
format: bio
splits:
  train: {file: a.txt}
labels:
  name: {name: 姓名}
"""


@pytest.mark.parametrize("name", ["cluener", "demo", "tcm"])
def test_every_corpus_description_is_complete(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    corpus = load_corpus(name)
    assert len(corpus.labels) == 10
    assert all(label.name and label.definition for label in corpus.labels)
    assert all(split.sha256 for split in corpus.splits.values()) or name == "demo"


def test_an_unknown_corpus_is_refused(workplace: Path, cli: Callable[..., Result]) -> None:
    assert "known: cluener, demo, tcm" in one_line_error(cli("ner-data", "convert", "msra"))


def test_a_label_without_a_definition_is_loaded(workplace: Path) -> None:
    Path("data/corpora/my.yaml").write_text(DEMO, encoding="utf-8")
    assert load_corpus("my").labels == (Label("name", "姓名", ""),)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("format: bio", "format: bmes", "unknown format 'bmes'; known: bio, cluener;"),
        ("format: bio", "format: ../gold", "unknown format '../gold'; known: bio, cluener;"),
        ("title: Mine\n", "", "lacks title;"),
        ("name: my", "name: your", "`name: your` must be `name: my`, like the file name;"),
        ("{name: 姓名}", "姓名", "labels: name must be a mapping of name, definition, not '姓名';"),
        ("{name: 姓名}", "{definition: 人}", "labels: name lacks name;"),
        ("{name: 姓名}", "{name: 7}", "labels: name: name must be text (quote it), not 7;"),
        ("  name: {name: 姓名}", "  []", "labels must be a mapping with at least one entry;"),
        ("file: a.txt", "file: a.txt, golden: false", "splits: train has an unknown golden; known: file, url,"),
        ("file: a.txt", "file: a.txt, gold: maybe", "splits: train: gold must be true or false, not 'maybe';"),
        ("train:", "valid:", "unknown splits valid; use train, dev, test;"),
        ("title: Mine", "title: 2024-02-30", "not YAML (day is out of range for month)"),
        (DEMO, "text", "must be a mapping, not 'text';"),
    ],
)
def test_a_mistake_in_a_description_is_one_line(
    workplace: Path, cli: Callable[..., Result], old: str, new: str, problem: str
) -> None:
    assert old in DEMO
    Path("data/corpora/my.yaml").write_text(DEMO.replace(old, new, 1), encoding="utf-8")
    message = one_line_error(cli("ner-data", "convert", "my"))
    assert message.startswith(f"ner-data: data/corpora/my.yaml: {problem}")


def test_all_mistakes_in_a_description_are_named_at_once(workplace: Path, cli: Callable[..., Result]) -> None:
    text = DEMO.replace("title: Mine\n", "").replace("bio", "bmes").replace("{name: 姓名}", "姓名")
    Path("data/corpora/my.yaml").write_text(text, encoding="utf-8")
    result = cli("ner-data", "fetch", "my")
    assert result.code == 2
    assert [line.split("; see")[0].split("yaml: ")[1][:14] for line in result.err.splitlines()] == [
        "lacks title",
        "unknown format",
        "labels: name m",
    ]
