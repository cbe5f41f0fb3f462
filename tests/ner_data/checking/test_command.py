"""The command `ner-data check`: what it prints and writes, its exit codes, bad input, and that it changes no data."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import convert, read_gold
from ner_data.checking.report import CLASSES
from ner_data.gold import Record, write_gold
from support import Result, one_line_error

Cli = Callable[..., Result]
Gold = Callable[..., Path]


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_the_default_prints_and_writes_nothing(gold: Gold, cli: Cli) -> None:
    gold(train=["[a:林晓，]来了"] * 5)
    before = contents()
    result = cli("ner-data", "check", "tiny")
    assert result.code == 0
    assert contents() == before
    assert "boundaries: 5. Mentions that begin or end with punctuation or a space. Shorten the mentions" in result.out
    assert result.out.count("ends with “，”\n      train train.raw:") == 3
    assert "--all prints 5" in result.out
    assert cli("ner-data", "check", "tiny", "--all").out.count("ends with “，”\n      train train.raw:") == 5


def test_a_line_break_in_a_surface_does_not_break_the_line(gold: Gold, cli: Cli) -> None:
    gold(train=["[a:Ａ\nB]来了", "[a:A\nB]走了"])
    out = cli("ner-data", "check", "tiny").out
    assert "  - A\\nB: A\\nB once; Ａ\\nB once\n      train train.raw:1\n" in out


def test_json_goes_to_a_file_or_alone_to_the_terminal(gold: Gold, cli: Cli) -> None:
    gold(train=["[a:林晓]来了\u202e", "[a:林晓]来了\u202e"])
    assert cli("ner-data", "check", "tiny", "--json", "out.json").out.startswith("tiny: Tiny; 2 distinct texts\n")
    written = json.loads(Path("out.json").read_text("utf-8"))
    printed = json.loads(cli("ner-data", "check", "tiny", "--json", "-").out)
    assert {**written, "seconds": 0} == {**printed, "seconds": 0}
    assert list(written["found"]) == list(CLASSES)
    place = written["found"]["duplicates"]["findings"][0]["places"][1]
    assert place == {
        "split": "train", "source": "train.raw:2", "id": "train-2", "text": "林晓来了\u202e", "start": 0, "end": 0, "note": "",
    }  # fmt: skip
    assert written["splits"]["train"]["lengths"] == {"5": 2}


def test_strict_fails_if_anything_of_a_named_class_is_found(gold: Gold, cli: Cli) -> None:
    gold(train=["[a:林晓]来了", "[a:林晓]来了", "没有"])
    assert cli("ner-data", "check", "tiny", "--strict", "leakage, boundaries").code == 0
    result = cli("ner-data", "check", "tiny", "--strict", "leakage,duplicates")
    assert (result.code, result.err) == (1, "ner-data: --strict: found duplicates 1\n")
    assert cli("ner-data", "check", "tiny", "--strict", "all").code == 1
    assert cli("ner-data", "check", "tiny").code == 0


def test_every_process_finds_the_same_in_the_same_order(gold: Gold) -> None:
    texts = [f"[a:林晓{n}]在[b:北京{n}]和林晓{n + 1}" for n in range(30)]
    gold(train=[*texts, *texts, *[text.replace("[b:", "[a:") for text in texts]], dev=texts[:20])
    outputs = []
    for seed in ("1", "2"):  # of Python's hashes
        command = [sys.executable, "-c", "from ner_data.cli import entry_point; entry_point()"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [*command, "check", "tiny", "--json", "-"], env=environment, capture_output=True, text=True, check=True
        )
        outputs.append({**json.loads(done.stdout), "seconds": 0})
    assert outputs[0] == outputs[1]
    assert outputs[0]["found"]["leakage"]["count"] == 20


def test_help_lists_the_classes(cli: Cli) -> None:
    text = cli("ner-data", "check", "--help").out
    assert all(f"\n  {name} " in text and kind.title in text for name, kind in CLASSES.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such corpus; known: "),
        (["demo"], "data/gold/demo/train.jsonl: no such file; run `make data CORPUS=demo`"),
        (["tiny", "--strict", "leakage,typos"], "--strict: typos is no class of findings; use leakage, conflicts, "),
        (["tiny", "--strict", "long"], "--strict long: not looked for: needs --tokenizer DIR and --cutoff N"),
        (["tiny", "--strict", "near-duplicates", "--no-near"], "--strict near-duplicates: not looked for: not wanted"),
        (["tiny", "--cutoff", "5"], "--cutoff 5 counts tokens; name a model's folder with --tokenizer DIR"),
        (
            ["tiny", "--tokenizer", "data"],
            "data/tokenizer.json: no such file; name the folder of a model with --tokeni",
        ),
        (["tiny", "--fix", "demo"], "data/corpora/demo.yaml: already exists; remove it or name another folder"),
        (["tiny", "--fix", "a/b"], "a/b: no name for a corpus; use letters, digits"),
        (["tiny", "--html", "data"], "Is a directory"),
    ],
)
def test_bad_input_gets_one_line(gold: Gold, cli: Cli, arguments: list[str], message: str) -> None:
    gold(train=["[a:林晓]来了"])
    before = contents()
    assert message in one_line_error(cli("ner-data", "check", *arguments))
    assert contents() == before


def test_an_empty_gold_file_is_refused(gold: Gold, cli: Cli) -> None:
    gold(train=[])
    message = one_line_error(cli("ner-data", "check", "tiny"))
    assert message == "ner-data: data/gold/tiny/train.jsonl: no records; run `make data CORPUS=tiny`"


def test_fix_writes_a_cleaned_copy_and_a_line_for_each_change(gold: Gold, cli: Cli) -> None:
    gold(
        train=[
            "[a:林晓，]来了",
            "[a:林晓，]来了",
            "[b:林晓]，来了",
            "[a:周明]走了，天安门",
            "在[a:——]或[b:《赤壁]》",
            "[b:(上海)]好",
        ],
        dev=["[a:周明]走了，[b:天安门]", "[a: 北京]", "[a: 北京]"],
    )
    before = contents()
    result = cli("ner-data", "check", "tiny", "--fix", "clean")
    assert result.code == 0, result.err
    assert {path: data for path, data in contents().items() if path in before} == before
    log = Path("data/raw/clean/changes.log").read_text("utf-8").splitlines()
    assert log == [
        "train\ttrain.raw:1\ttrain-1\tmention trimmed: a [0, 3) '林晓，' is now [0, 2) '林晓'",
        "train\ttrain.raw:2\ttrain-2\tmention trimmed: a [0, 3) '林晓，' is now [0, 2) '林晓'",
        "train\ttrain.raw:2\ttrain-2\tremoved, copy: of train.raw:1",
        "train\ttrain.raw:4\ttrain-4\tremoved, text also in dev: dev.raw:1",
        "train\ttrain.raw:5\ttrain-5\tmention removed: a [1, 3) '——' is nothing but punctuation or space",
        "train\ttrain.raw:5\ttrain-5\tmention trimmed: b [4, 7) '《赤壁' is now [5, 7) '赤壁'",
        "dev\tdev.raw:2\tdev-2\tmention trimmed: a [0, 3) ' 北京' is now [1, 3) '北京'",
        "dev\tdev.raw:3\tdev-3\tmention trimmed: a [0, 3) ' 北京' is now [1, 3) '北京'",
    ]
    assert "data/raw/clean/train.jsonl: read 6, kept 4; " in result.out
    assert "data/raw/clean/changes.log: 8 changes\n" in result.out

    convert("clean")
    train = list(read_gold(Path("data/gold/clean/train.jsonl")))
    assert [record.source for record in train] == ["train.raw:1", "train.raw:3", "train.raw:5", "train.raw:6"]
    assert [entity.text for record in train for entity in record.gold] == ["林晓", "林晓", "赤壁", "(上海)"]
    # What is left needs a decision: conflicting copies.
    found = json.loads(cli("ner-data", "check", "clean", "--json", "-").out)["found"]
    assert {name: found[name]["count"] for name in ("leakage", "conflicts", "boundaries")} == {
        "leakage": 0, "conflicts": 1, "boundaries": 0,
    }  # fmt: skip


def test_fix_names_a_mention_that_is_there_twice(gold: Gold, cli: Cli) -> None:
    """Gold of earlier versions may have some."""
    path = gold(train=["[a:林晓]来了", "[a:周明]走了"]) / "train.jsonl"
    first, second = read_gold(path)
    write_gold(path, [Record("train-1", first.text, first.gold * 2, "train.raw:1"), second])
    assert cli("ner-data", "check", "tiny", "--fix", "clean").code == 0
    log = Path("data/raw/clean/changes.log").read_text("utf-8").splitlines()
    assert log == ["train\ttrain.raw:1\ttrain-1\tmention removed: a [0, 2) '林晓' is there twice"]


def test_fix_of_a_train_split_that_dev_has_completely_writes_nothing(gold: Gold, cli: Cli) -> None:
    gold(train=["[a:林晓]来了"], dev=["[a:林晓]来了"])
    message = one_line_error(cli("ner-data", "check", "tiny", "--fix", "clean"))
    assert "nothing would remain to train on" in message
    assert not Path("data/raw/clean").exists() and not Path("data/corpora/clean.yaml").exists()
