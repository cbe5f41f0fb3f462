"""`ner-data convert` and `ner-data alpaca`: real corpora to the number, and bad input to the line."""

import errno
import functools
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from ner_data import demo
from ner_data.corpus import load_corpus
from ner_data.gold import read_gold
from ner_data.prompt import PromptSpec
from support import Result, one_line_error

Cli = Callable[..., Result]

# The tables of ../shared/data/README.md (mentions per label), which were not made by our converter.
CLUENER = {
    "total": (23971, 3072), "address": (2891, 373), "book": (1139, 154), "company": (2980, 378), "game": (2376, 295), "government": (1835, 247),
    "movie": (1123, 151), "name": (3755, 465), "organization": (3210, 367), "position": (3141, 433), "scene": (1521, 209),
}  # fmt: skip
TCM = {
    "total": (12634, 1620, 1529), "临床表现": (3068, 369, 375), "中药": (2786, 429, 262), "西医诊断": (2444, 308, 330), "中医证候": (1170, 136, 158),
    "中医治疗": (1081, 111, 133), "方剂": (1012, 120, 111), "西医治疗": (465, 44, 53), "中医治则": (297, 53, 47),
    "中医诊断": (246, 42, 48), "其他治疗": (65, 8, 12),
}  # fmt: skip


def counts(path: Path) -> tuple[int, Counter[str]]:
    records = list(read_gold(path))
    return len(records), Counter(entity.label for record in records for entity in record.entities or ())


def column(table: dict[str, tuple[int, ...]], index: int) -> Counter[str]:
    return Counter({label: row[index] for label, row in table.items() if label != "total"})


def printed_table(out: str) -> tuple[list[str], dict[str, tuple[int, ...]]]:
    """The splits and the rows of the table of mentions per label, as `ner-data convert` printed it."""
    header, *rows = itertools.takewhile(
        lambda line: not line.startswith("note:"), out.partition("mentions per label\n")[2].splitlines()
    )
    cells = [row.split() for row in rows]
    assert len({label for label, *_ in cells}) == len(cells)
    return header.split(), {label: tuple(map(int, numbers)) for label, *numbers in cells}


def test_cluener_counts_equal_the_published_ones(workplace: Path, shared: Path, cli: Cli) -> None:
    begin = time.perf_counter()
    result = cli("ner-data", "convert", "cluener", "--raw", shared / "data/cluener")
    seconds = time.perf_counter() - begin
    assert result.code == 0, result.err
    for index, (split, size) in enumerate({"train": 10748, "dev": 1343}.items()):
        assert f"data/gold/cluener/{split}.jsonl: read {size}, kept {size}, rejected 0\n" in result.out
        assert counts(Path(f"data/gold/cluener/{split}.jsonl")) == (size, column(CLUENER, index))
    assert "test.jsonl: read 1345, kept 1345, rejected 0; no gold: only to be predicted\n" in result.out
    assert printed_table(result.out) == (["train", "dev"], CLUENER)
    test = list(read_gold(Path("data/gold/cluener/test.jsonl")))
    assert len(test) == 1345
    assert all(record.entities is None for record in test)
    assert seconds < 5


def test_tcm_counts_equal_the_published_ones(workplace: Path, shared: Path, cli: Cli) -> None:
    result = cli("ner-data", "convert", "tcm", "--raw", shared / "data/tcm")
    assert result.code == 0, result.err
    for index, (split, size) in enumerate({"train": 5259, "dev": 657, "test": 658}.items()):
        assert f"data/gold/tcm/{split}.jsonl: read {size}, kept {size}, rejected 0\n" in result.out
        assert counts(Path(f"data/gold/tcm/{split}.jsonl")) == (size, column(TCM, index))
    assert printed_table(result.out) == (["train", "dev", "test"], TCM)
    assert "train repeats 43 texts (58 extra copies, 13 with other labels)" in result.out
    assert "train and test share 9 texts" in result.out
    text = "".join(record.text for record in read_gold(Path("data/gold/tcm/train.jsonl")))
    assert text.count("\u3000") == 33


def test_a_split_without_gold_is_not_trained_on(workplace: Path, shared: Path, cli: Cli) -> None:
    cli("ner-data", "convert", "cluener", "--raw", shared / "data/cluener")
    result = cli("ner-data", "alpaca", "cluener")
    assert "cluener_test.json: read 1345, kept 0, rejected 1345 (no gold 1345)" in result.out
    assert not Path("data/alpaca/cluener_test.json").exists()
    assert sorted(json.loads(Path("dataset_info.json").read_text())) == ["cluener_dev", "cluener_train"]


def make_demo(cli: Cli) -> None:
    for command in ("fetch", "convert", "alpaca"):
        result = cli("ner-data", command, "demo")
        assert result.code == 0, result.err


def test_alpaca_items_carry_prompt_and_answer(workplace: Path, cli: Cli) -> None:
    make_demo(cli)
    spec = PromptSpec.load(Path("data/alpaca/demo.prompt.json"))
    gold = list(read_gold(Path("data/gold/demo/train.jsonl")))
    items = json.loads(Path("data/alpaca/demo_train.json").read_text(encoding="utf-8"))
    assert [item["id"] for item in items] == [record.id for record in gold]
    for item, record in zip(items, gold, strict=True):
        system, user = spec.messages(record.text)
        assert item["system"] == system["content"]
        assert f"{item['instruction']}\n{item['input']}" == user["content"]
        assert [(m.label, m.text) for m in spec.parse(item["output"], record.text).mentions] == [
            (entity.label, entity.text) for entity in record.gold
        ]
        assert len(item["output"].encode()) < spec.max_tokens
    assert spec.longest_text == max(len(record.text) for record in gold)


def test_the_committed_registry_is_what_the_tool_writes(workplace: Path, shared: Path, cli: Cli) -> None:
    make_demo(cli)
    for corpus in ("cluener", "tcm"):
        cli("ner-data", "convert", corpus, "--raw", shared / f"data/{corpus}")
        cli("ner-data", "alpaca", corpus)
    committed = (Path(__file__).parents[2] / "dataset_info.json").read_bytes()
    assert Path("dataset_info.json").read_bytes() == committed
    assert committed.isascii()


def test_other_data_sets_in_the_registry_are_kept(workplace: Path, cli: Cli) -> None:
    Path("dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    make_demo(cli)
    assert json.loads(Path("dataset_info.json").read_text())["mine"] == {"file_name": "mine.json"}


GOOD = '{"text": "甲乙", "label": {"name": {"甲": [[0, 0]]}}}\n'
# What stands before a bad record: (corpus that reads the format, a good record, its number of lines).
BEFORE = {"demo": (GOOD.replace("{", '{"id": 7, ', 1), 1), "tcm": ("头 O\n晕 B-临床表现\n\n", 3)}


def raw(workplace: Path, corpus: str = "demo", **files: bytes) -> Path:
    folder = workplace / "raw"
    folder.mkdir(exist_ok=True)
    for split, described in load_corpus(corpus).splits.items():
        good = GOOD if corpus == "demo" else BEFORE[corpus][0]
        (folder / described.file).write_bytes(files.get(split, good.encode()))
    return folder


@pytest.mark.parametrize(
    ("corpus", "content", "parts"),
    [
        ("demo", b"", ["train.json: the file is empty"]),
        ("demo", "{'text': '甲'}\n".encode("gbk"), ["train.json:1: not UTF-8", "GBK", "iconv"]),
        ("demo", b'\xff\xfe{"text"', ["train.json:1: not UTF-8"]),
        ("tcm", b"", ["medical_train.txt: the file is empty"]),
        ("tcm", "甲 O\n".encode("gbk"), ["medical_train.txt:1: not UTF-8", "GBK", "iconv"]),
    ],
)
def test_an_unreadable_file_ends_in_one_line_and_writes_nothing(
    workplace: Path, cli: Cli, corpus: str, content: bytes, parts: list[str]
) -> None:
    message = one_line_error(cli("ner-data", "convert", corpus, "--raw", raw(workplace, corpus, train=content)))
    for part in parts:
        assert part in message
    assert not Path("data/gold").exists()


@pytest.mark.parametrize(
    ("corpus", "bad", "reason", "part"),
    [
        ("demo", '{"text": \n', "malformed JSON", "not JSON"),
        (
            "demo",
            GOOD.replace('"甲"', '"乙"'),
            "offsets do not match",
            "name '乙' at [0, 0], but the text has '甲' there",
        ),
        ("demo", GOOD.replace("[0, 0]", "[0, 2]"), "offsets out of range", "name '甲' at [0, 2]: the text has 2 char"),
        ("demo", GOOD.replace("[0, 0]", "[-1, 0]"), "offsets out of range", "name '甲' at [-1, 0]: the text has 2"),
        ("demo", GOOD.replace("[0, 0]", "[1, 0]"), "reversed offsets", "name '甲' at [1, 0]: the start lies behind"),
        ("demo", GOOD.replace("name", "river"), "unknown label", "unknown label river; known: address, "),
        ("demo", BEFORE["demo"][0], "duplicate id", "the id 7 stands in line 1 already"),
        ("tcm", "甲 O\n乙\n", "no tag", "line 5 has no tag: '乙'"),
        ("tcm", "甲 S-中药\n", "unknown tag scheme", "line 4 has the tag 'S-中药'"),
        ("tcm", "甲 B-river\n", "unknown label", "unknown label river; known: "),
    ],
)
def test_a_bad_record_ends_in_one_line_and_is_never_written(
    workplace: Path, cli: Cli, corpus: str, bad: str, reason: str, part: str
) -> None:
    good, lines = BEFORE[corpus]
    command = ("ner-data", "convert", corpus, "--raw", raw(workplace, corpus, train=(good + bad).encode()))
    message = one_line_error(cli(*command))
    file = load_corpus(corpus).splits["train"].file
    assert message.startswith(f"ner-data: raw/{file}:{lines + 1}: record 2: ")
    assert part in message
    assert message.endswith("; mend it, or use --skip-bad")
    assert not Path("data/gold").exists()

    result = cli(*command, "--skip-bad")
    assert result.code == 0
    assert f"train.jsonl: read 2, kept 1, rejected 1 ({reason} 1)\n" in result.out
    # Ids count what was read, so that they stay the same when a bad record is mended.
    assert [record.id for record in read_gold(Path(f"data/gold/{corpus}/train.jsonl"))] == [f"{corpus}-train-1"]


def test_i_without_b_is_kept_as_the_start_of_a_mention_and_counted_apart_from_what_is_rejected(
    workplace: Path, cli: Cli
) -> None:
    rows = "甲 I-临床表现\n乙 I-临床表现\n丙 I-中药\n丁 O\n戊 I-中药\n"
    command = ("ner-data", "convert", "tcm", "--raw")
    result = cli(*command, raw(workplace, "tcm", train=rows.encode()))
    assert result.code == 0
    assert "train.jsonl: read 1, kept 1, rejected 0; I- without B- (starts a mention): 3\n" in result.out
    _, table = printed_table(result.out)
    assert (table["临床表现"][0], table["中药"][0], table["total"][0]) == (1, 2, 3)
    result = cli(*command, raw(workplace, "tcm", train=f"{rows}\n己\n".encode()), "--skip-bad")
    tally = "read 2, kept 1, rejected 1 (no tag 1); I- without B- (starts a mention): 3"
    assert f"train.jsonl: {tally}\n" in result.out


def test_a_missing_file_is_named_with_its_remedy_and_nothing_is_written(workplace: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", workplace / "nowhere"))
    assert message.endswith("nowhere/train.json: no such file; name the folder that has it with --raw DIR")
    (raw(workplace) / "test.json").unlink()  # the last one: the others have been read
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", "raw"))
    assert message.endswith("raw/test.json: no such file; name the folder that has it with --raw DIR")
    assert not Path("data/gold").exists()


def test_an_unknown_corpus_is_refused(workplace: Path, cli: Cli) -> None:
    assert "known: cluener, demo, tcm" in one_line_error(cli("ner-data", "convert", "msra"))


def test_all_problems_are_reported_at_once(workplace: Path, cli: Cli) -> None:
    result = cli("ner-data", "convert", "demo", "--raw", raw(workplace, train=b"{\n" * 3, test=b"{\n" * 30))
    assert result.code == 2
    assert len(result.err.splitlines()) == 21
    assert result.err.splitlines()[-1] == "ner-data: ... and 13 more"


def test_skip_bad_leaves_records_out_and_counts_them_by_reason(workplace: Path, cli: Cli) -> None:
    content = GOOD + "{\n" + GOOD.replace("name", "river") + GOOD
    result = cli("ner-data", "convert", "demo", "--skip-bad", "--raw", raw(workplace, train=content.encode()))
    assert result.code == 0
    assert "train.jsonl: read 4, kept 2, rejected 2 (malformed JSON 1; unknown label 1)" in result.out
    assert [record.id for record in read_gold(Path("data/gold/demo/train.jsonl"))] == ["demo-train-1", "demo-train-4"]


def test_a_file_of_only_bad_records_is_refused(workplace: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--skip-bad", "--raw", raw(workplace, train=b"{\n")))
    assert "nothing is left of a split; its first problem: raw/train.json:1: record 1: not JSON" in message
    assert not Path("data/gold").exists()


def test_alpaca_before_convert_says_what_to_run(workplace: Path, cli: Cli) -> None:
    assert "no such file; run `make data CORPUS=demo`" in one_line_error(cli("ner-data", "alpaca", "demo"))


@pytest.mark.parametrize("content", ['{"a": {', "[]", '{"a": 1}', ""])
def test_a_broken_registry_is_refused_and_left_alone(workplace: Path, cli: Cli, content: str) -> None:
    for command in ("fetch", "convert"):
        cli("ner-data", command, "demo")
    Path("dataset_info.json").write_text(content)
    assert "git checkout dataset_info.json" in one_line_error(cli("ner-data", "alpaca", "demo"))
    assert Path("dataset_info.json").read_text() == content
    assert not Path("data/alpaca").exists()


def test_duplicate_ids_in_gold_are_refused(workplace: Path, cli: Cli) -> None:
    for command in ("fetch", "convert"):
        cli("ner-data", command, "demo")
    path = Path("data/gold/demo/train.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    assert "train.jsonl:2001: the id demo-train-1 stands twice" in one_line_error(cli("ner-data", "alpaca", "demo"))
    assert not Path("data/alpaca").exists()
    assert not Path("dataset_info.json").exists()


def fill_disk(context: pytest.MonkeyPatch, stage: str, number: int) -> None:
    """Let the disk be full at the ``number``-th file that is written: half-way through a text, or as it is forced out."""
    files = itertools.count(1)
    real_open, real_fsync = Path.open, os.fsync

    def no_space() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(self: Path, mode: str = "r", *args: Any, **options: Any) -> IO[Any]:
        file: Any = real_open(self, mode, *args, **options)
        if "w" in mode and next(files) == number:

            def half(text: str) -> None:
                type(file).write(file, text[: len(text) // 2])
                file.flush()
                no_space()

            file.write = half
        return file  # type: ignore[no-any-return]

    def synced(descriptor: int) -> None:
        if next(files) == number:
            no_space()
        real_fsync(descriptor)

    if stage == "write":
        context.setattr(Path, "open", opened)
    else:
        context.setattr(os, "fsync", synced)


LEXICON = functools.cache(demo.lexicon)  # takes seconds, and the disk is filled many times


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", ["write", "fsync"])
@pytest.mark.parametrize(("command", "files"), [("fetch", 3), ("convert", 3), ("alpaca", 5)])
def test_a_disk_that_fills_at_any_file_leaves_every_old_one_and_no_other(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str, files: int, stage: str
) -> None:
    # Each command has written its files once, and its input has changed since.
    Path("data/raw").mkdir()
    raw(workplace).rename("data/raw/demo")
    monkeypatch.setattr(demo, "SIZES", {"train": 2, "dev": 1, "test": 1})
    monkeypatch.setattr(demo, "lexicon", LEXICON)
    for earlier in ("convert", "alpaca"):
        assert cli("ner-data", earlier, "demo").code == 0
    changed = GOOD.replace("甲乙", "甲乙丙").encode()
    raw(workplace, train=changed, dev=changed, test=changed).rename("data/raw/new")
    if command == "alpaca":
        assert cli("ner-data", "convert", "demo", "--raw", "data/raw/new").code == 0
        Path("dataset_info.json").write_text('{"mine": {}}')
    arguments = ["--raw", "data/raw/new"] if command == "convert" else []
    before = tree(workplace)
    for number in range(1, files + 1):
        with monkeypatch.context() as context:
            fill_disk(context, stage, number)
            assert "No space left on device" in one_line_error(cli("ner-data", command, "demo", *arguments))
        assert tree(workplace) == before
    with monkeypatch.context() as context:
        fill_disk(context, stage, files + 1)
        assert cli("ner-data", command, "demo", *arguments).code == 0
    after = tree(workplace)
    assert after.keys() == before.keys()
    assert sum(after[path] != before[path] for path in after) == files
