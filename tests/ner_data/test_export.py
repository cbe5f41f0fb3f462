"""`ner-data export`: what a format cannot hold is refused by reason, or left out and counted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data import export, export_corpus, load_corpus
from ner_data.formats import bio, cluener
from ner_data.gold import Entity, Record
from raw_files import read
from support import Result, one_line_error

Cli = Callable[..., Result]
NESTED = Record("a-1", "北京大学", (Entity(0, 2, "address", "北京"), Entity(0, 4, "company", "北京大学")), "a.json:1")
PLAIN = Record("a-2", "林晓来了", (Entity(0, 2, "name", "林晓"),), "a.json:2")
BROKEN = Record("a-3", "林\n晓", (Entity(0, 1, "name", "林"),))


def test_the_demo_corpus_is_the_same_after_export(make_demo: Callable[..., None], cli: Cli) -> None:
    make_demo("fetch", "convert")
    result = cli("ner-data", "export", "demo", "--format", "cluener", "--output", "out")
    assert result.code == 0, result.err
    assert "out/train: read 2000, kept 2000, rejected 0\n" in result.out
    for name in ("train", "dev", "test"):
        before, after = (read(cluener, Path(f"{folder}/{name}.json"), True) for folder in ("data/raw/demo", "out"))
        assert [(s.text, s.entities) for s in before] == [(s.text, s.entities) for s in after]
    message = one_line_error(cli("ner-data", "export", "demo", "--format", "bio", "--output", "out"))
    assert message == "ner-data: out: already exists; remove it or name another folder"


@pytest.mark.parametrize(("nested", "kept"), [("outermost", "北京大学"), ("innermost", "北京")])
def test_nested_mentions_need_a_policy_in_a_flat_format(workplace: Path, nested: str, kept: str) -> None:
    corpus = load_corpus("cluener")
    with pytest.raises(UserError, match=r"a-1 \(a\.json:1\): bio cannot hold it: has nested .* --nested outermost"):
        export([NESTED, PLAIN], corpus, Path("out"), format="bio")
    assert not list(workplace.glob("*out*"))
    done = export([NESTED, PLAIN], corpus, Path("out"), format="bio", nested=nested)
    assert (done.read, done.rejected, done.dropped) == (2, {}, 1)
    first, second = read(bio, Path("out.txt"), True)
    assert [entity.text for entity in first.entities or ()] == [kept]
    assert (second.text, second.entities) == (PLAIN.text, PLAIN.entities)


def test_records_that_a_format_cannot_hold_are_left_out_only_if_asked(workplace: Path) -> None:
    corpus = load_corpus("cluener")
    with pytest.raises(UserError, match=r"a-3: bio cannot hold it: has a line break at character 1"):
        export([PLAIN, BROKEN], corpus, Path("out"), format="bio")
    done = export([PLAIN, BROKEN, NESTED], corpus, Path("out"), format="bio", skip_bad=True)
    assert (done.read, done.rejected) == (3, {"line break": 1, "nested mentions": 1})
    with pytest.raises(UserError, match=r"none: no record to write; the first problem: a-3"):
        export([BROKEN], corpus, Path("none"), format="bio", skip_bad=True)
    assert not list(workplace.glob("*none*"))


def test_a_failed_export_leaves_no_folder(make_demo: Callable[..., None]) -> None:
    make_demo("fetch", "convert")
    gold = Path("data/gold/demo/test.jsonl")
    gold.write_text(gold.read_text("utf-8") + "{\n", "utf-8")
    with pytest.raises(UserError, match="not JSON"):
        export_corpus("demo", Path("out"), format="bio")
    assert not list(Path().glob("out*"))
