"""Sentences without entities: from a file or from clauses, in train alone, and none that holds a known mention."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_data import Record, negatives
from small_corpora import marked
from support import Result, one_line_error

Cli = Callable[..., Result]
New = Callable[[str], dict[str, list[Record]]]
TRAIN = [
    "据了解，[林晓|name]昨天到任，公司上下都很高兴！“没有人反对。”",
    "[云帆|company]说今天天气很好，[云帆|company]",
    "今天天气很好",
]


def test_lines_of_a_file(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=TRAIN, dev=["[王五|name]走了", "菜价涨了"])
    text = "房租又涨了\n\n林晓没有来\n 房租又涨了\u3000\r\n菜价涨了\n王五没有来\n今天天气很好\n"
    Path("lines.txt").write_bytes(text.encode("gb18030"))
    result = cli("ner-data", "negatives", "a", "b", "--text", "lines.txt", "--encoding", "gb18030")
    assert result.code == 0, result.err
    assert result.out == (
        "read 5, kept 5, rejected 0\n"
        "added 2 (lines 2), left out 5 (is a text of the corpus, or there twice 3; blank 1; holds an annotated surface 1)\n"
        "data/raw/b/train.jsonl: 5 records\ndata/raw/b/dev.jsonl: 2 records\nnext: make data CORPUS=b\n"
    )
    train = new("b")["train"]
    # 王五 is annotated in dev alone, which says nothing about training data.
    assert marked(train) == [*TRAIN, "房租又涨了", "王五没有来"]
    assert [(one.id, one.source) for one in train[3:]] == [
        ("b-negative-1", "lines.txt:1"),
        ("b-negative-6", "lines.txt:6"),
    ]


def test_clauses_without_a_mention(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=[*TRAIN, "[林晓|name]说，云帆的人都没有来过"])
    result = cli("ner-data", "negatives", "a", "b", "--clauses")
    assert "added 1 (clauses 1), left out 1 (holds an annotated surface 1)\n" in result.out
    added = new("b")["train"][4:]
    assert marked(added) == ["公司上下都很高兴"]
    assert [(one.id, one.source) for one in added] == [("a-train-1-clause3", "train.json:1:11")]
    assert TRAIN[0].replace("[", "").replace("|name]", "")[11:].startswith("公司")


def test_a_number_of_both(corpus: Any, cli: Cli, new: New) -> None:
    corpus("a", train=TRAIN)
    Path("lines.txt").write_text("".join(f"房租涨了{n}次\n" for n in range(20)), encoding="utf-8")
    words = ("negatives", "a", "b", "--text", "lines.txt", "--clauses", "--number", "5")
    result = cli("ner-data", *words)
    assert "added 5 (" in result.out and "left out 16 (not drawn 16)" in result.out
    assert len(new("b")["train"]) == 8
    negatives("a", "again", text=Path("lines.txt"), clauses=True, number=5)
    negatives("a", "other", text=Path("lines.txt"), clauses=True, number=5, seed=1)
    texts = {name: [one.text for one in new(name)["train"]] for name in ("b", "again", "other")}
    assert texts["b"] == texts["again"] != texts["other"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say where the sentences come from: --text FILE, --clauses, or both"),
        (["--text", "none.txt"], "none.txt: no such file"),
        (["--text", "empty.txt"], "empty.txt: the file is empty"),
        (["--text", "gbk.txt"], "gbk.txt:1: not UTF-8 at byte 0 of the line"),
        (["--text", "named.txt"], "a: found 0 sentences without entities, not 1; add lines"),
        (["--clauses", "--number", "9"], "a: found 1 sentences without entities, not 9; add lines"),
        (["--text", "."], "is a folder, not a file"),
    ],
)
def test_what_gives_no_negatives(corpus: Any, cli: Cli, words: list[str], message: str) -> None:
    corpus("a", train=TRAIN)
    Path("empty.txt").touch()
    Path("gbk.txt").write_bytes("房租又涨了\n".encode("gbk"))
    Path("named.txt").write_text("林晓没有来\n", encoding="utf-8")
    assert message in one_line_error(cli("ner-data", "negatives", "a", "b", *words))
    assert not Path("data/raw").exists() and not Path("data/corpora/b.yaml").exists()


def test_there_must_be_a_training_split(corpus: Any, cli: Cli) -> None:
    corpus("a", test=TRAIN)
    assert "a: has no training split" in one_line_error(cli("ner-data", "negatives", "a", "b", "--clauses"))
