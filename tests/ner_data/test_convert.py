"""`ner-data convert`: real corpora to the number, and bad input to the line."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError, UserErrors
from ner_data import convert
from ner_data.corpus import load_corpus
from ner_data.gold import read_gold
from support import Result, one_line_error

Cli = Callable[..., Result]
Raw = Callable[..., Path]

# Mentions per label, from the tables of ../shared/data/README.md, which were not made by our converter.
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
    assert "test.jsonl: read 1345, kept 1345, rejected 0; no gold: for prediction only\n" in result.out
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
    assert "train repeats 43 texts (58 extra copies, 13 with different labels)" in result.out
    assert "train and test share 9 texts" in result.out
    text = "".join(record.text for record in read_gold(Path("data/gold/tcm/train.jsonl")))
    assert text.count("\u3000") == 33


GOOD = '{"text": "甲乙", "label": {"name": {"甲": [[0, 0]]}}}\n'
# Per format's corpus: a good record that precedes a bad one, and its number of lines.
BEFORE = {"demo": (GOOD.replace("{", '{"id": 7, ', 1), 1), "tcm": ("头 O\n晕 B-临床表现\n\n", 3)}


@pytest.mark.parametrize(
    ("corpus", "content", "parts"),
    [
        ("demo", b"", ["train.json: the file is empty"]),
        ("demo", "{'text': '甲'}\n".encode("gbk"), ["train.json:1: not UTF-8", "GBK", "iconv -f GB18030 -t UTF-8"]),
        ("demo", b'\xff\xfe{"text"', ["train.json: is UTF-16; use `--encoding utf-16`"]),
        ("demo", '{"text"'.encode("utf-16-le"), ["train.json:1: has a NUL, as UTF-16 without"]),
        ("tcm", b"", ["medical_train.txt: the file is empty"]),
        ("tcm", "甲 O\n".encode("gbk"), ["medical_train.txt:1: not UTF-8", "GBK", "iconv -f GB18030 -t UTF-8"]),
    ],
)
def test_an_unreadable_file_ends_in_one_line_and_writes_nothing(
    cli: Cli, raw: Raw, corpus: str, content: bytes, parts: list[str]
) -> None:
    message = one_line_error(cli("ner-data", "convert", corpus, "--raw", raw(corpus, train=content)))
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
        ("demo", GOOD.replace("[0, 0]", "[1, 0]"), "reversed offsets", "name '甲' at [1, 0]: the start is after"),
        ("demo", GOOD.replace("name", "river"), "unknown label", "unknown label river; known: address, "),
        ("demo", BEFORE["demo"][0], "duplicate id", "the id 7 is already used in line 1"),
        ("tcm", "甲 O\n乙\n", "no tag", "line 5 has no tag: '乙'"),
        ("tcm", "甲 S-临床表现\n", "unknown tag scheme", "line 4 has the tag 'S-临床表现'"),
        ("tcm", "甲 B-river\n", "unknown label", "unknown label river; known: "),
    ],
)
def test_a_bad_record_ends_in_one_line_and_is_never_written(
    cli: Cli, raw: Raw, corpus: str, bad: str, reason: str, part: str
) -> None:
    good, lines = BEFORE[corpus]
    command = ("ner-data", "convert", corpus, "--raw", raw(corpus, train=(good + bad).encode()))
    message = one_line_error(cli(*command))
    file = load_corpus(corpus).splits["train"].file
    assert message.startswith(f"ner-data: raw/{file}:{lines + 1}: record 2: ")
    assert part in message
    assert message.endswith("; fix it, or use --skip-bad")
    assert not Path("data/gold").exists()

    result = cli(*command, "--skip-bad")
    assert result.code == 0
    assert f"train.jsonl: read 2, kept 1, rejected 1 ({reason} 1)\n" in result.out
    # Ids count all records read, so they stay the same when a bad record is fixed.
    assert [record.id for record in read_gold(Path(f"data/gold/{corpus}/train.jsonl"))] == [f"{corpus}-train-1"]


def test_i_without_b_starts_a_mention_and_is_counted_apart_from_what_is_rejected(cli: Cli, raw: Raw) -> None:
    rows = "甲 I-临床表现\n乙 I-临床表现\n丙 I-中药\n丁 O\n戊 I-中药\n"
    command = ("ner-data", "convert", "tcm", "--raw")
    result = cli(*command, raw("tcm", train=rows.encode()))
    assert result.code == 0
    assert "train.jsonl: read 1, kept 1, rejected 0; I- without B- (starts a mention): 3\n" in result.out
    _, table = printed_table(result.out)
    assert (table["临床表现"][0], table["中药"][0], table["total"][0]) == (1, 2, 3)
    result = cli(*command, raw("tcm", train=f"{rows}\n己\n".encode()), "--skip-bad")
    tally = "read 2, kept 1, rejected 1 (no tag 1); I- without B- (starts a mention): 3"
    assert f"train.jsonl: {tally}\n" in result.out


def test_a_missing_file_is_named_with_its_remedy_and_nothing_is_written(workplace: Path, cli: Cli, raw: Raw) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", workplace / "nowhere"))
    assert message.endswith("nowhere/train.json: no such file; name the folder that has it with --raw DIR")
    (raw() / "test.json").unlink()  # the last one: the others have been read
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", "raw"))
    assert message.endswith("raw/test.json: no such file; name the folder that has it with --raw DIR")
    assert not Path("data/gold").exists()


def test_all_problems_are_reported_at_once(cli: Cli, raw: Raw) -> None:
    result = cli("ner-data", "convert", "demo", "--raw", raw(train=b"{\n" * 3, test=b"{\n" * 30))
    assert result.code == 2
    assert len(result.err.splitlines()) == 21
    assert result.err.splitlines()[-1] == "ner-data: ... and 13 more"


def test_skip_bad_leaves_records_out_and_counts_them_by_reason(cli: Cli, raw: Raw) -> None:
    content = GOOD + "{\n" + GOOD.replace("name", "river") + GOOD
    result = cli("ner-data", "convert", "demo", "--skip-bad", "--raw", raw(train=content.encode()))
    assert result.code == 0
    assert "train.jsonl: read 4, kept 2, rejected 2 (malformed JSON 1; unknown label 1)" in result.out
    assert [record.id for record in read_gold(Path("data/gold/demo/train.jsonl"))] == ["demo-train-1", "demo-train-4"]


def test_a_file_of_only_bad_records_is_refused(cli: Cli, raw: Raw) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--skip-bad", "--raw", raw(train=b"{\n")))
    assert "train: every record is bad; the first problem: raw/train.json:1: record 1: not JSON" in message
    assert not Path("data/gold").exists()


def test_the_function_returns_what_became_of_each_split(workplace: Path, raw: Raw) -> None:
    folder = raw(train=GOOD.encode() + b"{\n")
    with pytest.raises(UserErrors, match="record 2: not JSON"):
        convert("demo", raw=folder)
    assert not Path("data/gold").exists()
    splits = convert("demo", raw=folder, skip_bad=True)
    assert list(splits) == ["train", "dev", "test"]
    assert (splits["train"].read, splits["train"].rejected) == (2, Counter({"malformed JSON": 1}))
    assert splits["train"].kept == len(list(read_gold(Path("data/gold/demo/train.jsonl")))) == 1


BAD = "{\n"
RARE = '{"text": "甲乙", "label": {"book": {"乙": [[1, 1]]}}}\n'
NONE = '{"text": "甲乙", "label": {}}\n'


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        (
            GOOD * 2 + BAD * 3,
            "train: 3 of 5 records are bad, more than half, too many to skip; the first problem: raw/",
        ),
        (
            GOOD * 9 + RARE.replace("[1, 1]", "[1, 2]"),
            "train: skipping 1 bad records would lose every mention of the label book; the first problem: raw/",
        ),
        (
            NONE * 60 + GOOD + GOOD.replace("[0, 0]", "[0, 2]") * 50,
            "train: 50 of 51 records with labels are bad, more than half, too many to skip; the first problem: raw/",
        ),
        (NONE * 9 + BAD, "train: none of the 10 records has a mention; correct the raw file, or set `gold: false`"),
        (NONE, "train: none of the 1 records has a mention; correct the raw file, or set `gold: false`"),
        (BAD, "train: every record is bad; the first problem: raw/train.json:1: record 1: not JSON: '{'; fix it"),
    ],
)
def test_a_split_that_loses_too_much_is_refused_even_with_skip_bad(
    cli: Cli, raw: Raw, train: str, problem: str
) -> None:
    command = ("ner-data", "convert", "demo", "--skip-bad", "--raw")
    assert one_line_error(cli(*command, raw(train=train.encode()))).startswith(f"ner-data: {problem}")
    assert not Path("data/gold").exists()
    with pytest.raises(UserError):
        convert("demo", raw=Path("raw"), skip_bad=True)


@pytest.mark.parametrize("tag", ["S-临床表现", "临床表现-S", "E"])
def test_most_mentions_in_another_tag_scheme_are_too_many_to_skip(cli: Cli, raw: Raw, tag: str) -> None:
    train = "甲 O\n\n" * 60 + "晕 B-临床表现\n\n" + f"痛 {tag}\n\n" * 50
    message = one_line_error(
        cli("ner-data", "convert", "tcm", "--skip-bad", "--raw", raw("tcm", train=train.encode()))
    )
    assert "train: 50 of 51 records with labels are bad, more than half, too many to skip; the first" in message
    assert not Path("data/gold").exists()


def test_half_of_a_split_may_be_skipped_and_the_help_says_so(cli: Cli, raw: Raw) -> None:
    content = (GOOD * 2 + RARE + BAD * 2 + RARE.replace("[1, 1]", "[1, 2]")).encode()
    assert cli("ner-data", "convert", "demo", "--skip-bad", "--raw", raw(train=content, dev=content)).code == 0
    words = " ".join(cli("ner-data", "convert", "--help").out.split())
    assert "more than half of its records or all its mentions of a label" in words


def test_resume_in_another_tag_scheme_is_refused(workplace: Path, shared: Path, cli: Cli) -> None:
    text = Path("data/corpora/tcm.yaml").read_text("utf-8").replace("name: tcm", "name: resume", 1)
    for split, name in (("train", "train"), ("eval", "dev"), ("test", "test")):
        text = text.replace(f"file: medical_{split}.txt", f"file: {name}.char.bmes")
    ids = ["CONT", "EDU", "LOC", "NAME", "ORG", "PRO", "RACE", "TITLE"]
    labels = f"{{{', '.join(f'{label}: {{name: {label}}}' for label in ids)}}}"
    Path("data/corpora/resume.yaml").write_text(f"{text.partition('labels:')[0]}labels: {labels}\n", "utf-8")
    result = cli("ner-data", "convert", "resume", "--skip-bad", "--raw", shared / "data/resume")
    assert result.code == 2 and not Path("data/gold").exists()
    assert "train: 3718 of 3821 records are bad, more than half, too many to skip" in result.err


def test_a_label_may_be_called_total(cli: Cli, raw: Raw) -> None:
    path = Path("data/corpora/demo.yaml")
    path.write_text(path.read_text("utf-8").replace("  name: {", "  total: {"), "utf-8")
    files = {
        split: (GOOD.replace("name", "total") * (2 if split == "train" else 1)).encode()
        for split in ("train", "dev", "test")
    }
    result = cli("ner-data", "convert", "demo", "--raw", raw(**files))
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.startswith("total ")]
    assert rows == [["total", "2", "1", "1"], ["total", "2", "1", "1"]]


@pytest.mark.parametrize("text", [r"甲\ud800", r"\udc00甲", r"甲\ud83d\ud83d\ude00"])
def test_a_lone_surrogate_is_a_bad_record(cli: Cli, raw: Raw, text: str) -> None:
    content = (GOOD + f'{{"text": "{text}", "label": {{}}}}\n').encode()
    command = ("ner-data", "convert", "demo", "--raw", raw(train=content))
    assert "train.json:2: record 2: a \\ud800 to \\udfff without its other half" in one_line_error(cli(*command))
    result = cli(*command, "--skip-bad")
    assert result.code == 0 and "rejected 1 (lone surrogate 1)" in result.out


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("doccano", '{"text": "甲乙", "label": [[0, 2, "n"], [0, 2, "n"], [0, 2, "m"]]}'),
        (
            "label_studio",
            '[{"text": "甲乙", "label": [{"start": 0, "end": 2, "text": "甲乙", "labels": ["n"]}, '
            '{"start": 0, "end": 2, "text": "甲乙", "labels": ["n", "m"]}]}]',
        ),
    ],
)
def test_a_mention_that_is_there_twice_is_kept_once_and_counted(
    workplace: Path, cli: Cli, format: str, line: str
) -> None:
    Path("a.jsonl").write_text(line + "\n", "utf-8")
    assert cli("ner-data", "init", "mine", "a.jsonl", "--format", format).code == 0
    for nested in ("keep", "outermost"):
        result = cli("ner-data", "convert", "mine", "--raw", ".", "--nested", nested)
        assert "rejected 0; mentions that are there twice (kept once): 1" in result.out, result
        (record,) = read_gold(Path("data/gold/mine/train.jsonl"))
        assert [entity.label for entity in record.gold] == (["m", "n"] if nested == "keep" else ["m"])
