"""Corpus descriptions: those of the repository are complete, and a user's mistakes are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import load_corpus
from ner_data.described import Label
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
        ("format: bio", "format: slashes", "unknown format 'slashes'; known: alpaca, bio, "),
        ("format: bio", "format: ../gold", "unknown format '../gold'; known: alpaca, bio, "),
        ("title: Mine\n", "", "lacks title;"),
        ("name: my", "name: your", "`name: your` must be `name: my`, like the file name;"),
        ("{name: 姓名}", "姓名", "labels: name must be a mapping of name, definition, not '姓名';"),
        ("{name: 姓名}", "{definition: 人}", "labels: name lacks name;"),
        ("{name: 姓名}", "{name: 7}", "labels: name: name must be text (quote it), not 7;"),
        ("  name: {name: 姓名}", "  []", "labels must be a mapping with at least one entry;"),
        ("file: a.txt", "file: a.txt, golden: false", "splits: train has an unknown golden; known: file, url,"),
        ("file: a.txt", "file: a.txt, gold: maybe", "splits: train: gold must be true or false, not 'maybe';"),
        (
            "{file: a.txt}",
            "{file: a.txt}\n  test: {file: ./a.txt}",
            "splits: train and test have the same file, './a.txt'; name the file of each;",
        ),
        ("train:", "valid:", "unknown splits valid; use train, dev, test;"),
        ("title: Mine", "title: [", "not YAML (line 4: "),
        ("title: Mine", "title: 7", "title must be text (quote it), not 7;"),
        ("licence: none", "licence: no", "licence must be text (quote it), not False;"),
        ("title: Mine", "title: Mine\nnotes: x", "has an unknown notes; known: name, title, source,"),
        ("labels:", "labels:\n  name: {name: 人}", "not YAML (line 9: the key name is there more than once)"),
        ("file: a.txt", "file: 5", "splits: train: file must be text (quote it), not 5;"),
        ("file: a.txt", "file: ../../a.txt", "splits: train: file must be a name inside the raw folder, not '../../a"),
        ("file: a.txt", "file: /tmp/a.txt", "splits: train: file must be a name inside the raw folder, not '/tmp/a"),
        ("file: a.txt", 'file: "a\\0b"', "splits: train: file must be a name inside the raw folder, not 'a\\x00b'"),
        ("file: a.txt", 'file: ""', "splits: train: file must be a name inside the raw folder, not '';"),
        ("file: a.txt", "file: a.txt, url: 'ftp://x/a'", "splits: train: url must be an address that starts with"),
        ("file: a.txt", "file: a.txt, url: 'file:///etc/passwd'", "splits: train: url must be an address that st"),
        (
            "file: a.txt",
            "file: a.txt, url: ['https://x/a', 'ftp://x/a']",
            "splits: train: url must be an address that",
        ),
        ("file: a.txt", "file: a.txt, url: []", "splits: train: url must be "),
        ("file: a.txt", "file: a.txt, url: [7]", "splits: train: url must be "),
        (
            "file: a.txt",
            "file: a.txt, tags: ../b",
            "splits: train: tags must be a name inside the raw folder, not '../b",
        ),
        ("title: Mine", "title: Mine\nencoding: latin-1", "encoding must be one of utf-8, gb18030, utf-16, big5, not"),
        ("title: Mine", "title: Mine\nnested: all", "nested must be one of keep, outermost, innermost, not 'all';"),
        ("title: Mine", "title: Mine\nsplit_sentences: 0", "split_sentences must be a number of characters, not 0;"),
        ("title: Mine", "title: Mine\nsplit_sentences: true", "split_sentences must be a number of characters, not T"),
        ("title: Mine", "title: Mine\noptions: [1]", "options must be a mapping of the format's options, not [1];"),
        ("title: Mine", "title: Mine\noptions: {x: 1}", "options: bio has no option 'x'; known: "),
        ("file: a.txt", "file: a.txt, sha256: abc", "splits: train: sha256 must be 64 hexadecimal digits, not 'abc';"),
        ("  name: {", "  no: {", "labels: False must be text (quote it);"),
        ("  name: {", '  "": {', "labels: '' must be one line of text"),
        ("  name: {", '  "a\\nb": {', "labels: 'a\\nb' must be one line of text"),
        ("  name: {", '  "a\\eb": {', "labels: 'a\\x1bb' must be one line of text"),
        ("  name: {", '  "<|im_end|>": {', "labels: '<|im_end|>' looks like a control token of a model;"),
        ("{name: 姓名}", '{name: "姓\\n名"}', "labels: name: name must be one line of text"),
        ("{name: 姓名}", '{name: 姓名, definition: "\\x07"}', "labels: name: definition must be text without control"),
        ("name: 姓名", "name: &x 姓名, definition: *x", "not YAML (line 9: an alias (*); write its value out)"),
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
    text = DEMO.replace("title: Mine\n", "").replace("bio", "slashes").replace("{name: 姓名}", "姓名")
    Path("data/corpora/my.yaml").write_text(text, encoding="utf-8")
    result = cli("ner-data", "fetch", "my")
    assert result.code == 2
    assert [line.split("; see")[0].split("yaml: ")[1][:14] for line in result.err.splitlines()] == [
        "lacks title",
        "unknown format",
        "labels: name m",
    ]


def test_a_date_that_does_not_exist_is_text_as_every_date_is(workplace: Path) -> None:
    Path("data/corpora/my.yaml").write_text(DEMO.replace("title: Mine", "title: 2024-02-30"), encoding="utf-8")
    assert load_corpus("my").title == "2024-02-30"


def test_a_corpus_is_named_not_reached_by_a_path(workplace: Path, cli: Callable[..., Result]) -> None:
    Path("my.yaml").write_text(DEMO.replace("name: my", "name: ../../my"), encoding="utf-8")
    assert "no such corpus; known: cluener, demo, tcm" in one_line_error(cli("ner-data", "fetch", "../../my"))
