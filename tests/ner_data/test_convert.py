"""`ner-data convert` and `ner-data alpaca`: real corpora to the number, and bad input to the line."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data.gold import read_gold
from ner_data.prompt import PromptSpec
from support import Result, one_line_error

Cli = Callable[..., Result]

# The tables of the corpora's own facts (mentions per label), not of our converter.
CLUENER = {
    "address": (2891, 373), "book": (1139, 154), "company": (2980, 378), "game": (2376, 295), "government": (1835, 247),
    "movie": (1123, 151), "name": (3755, 465), "organization": (3210, 367), "position": (3141, 433), "scene": (1521, 209),
}  # fmt: skip
TCM = {
    "临床表现": (3068, 369, 375), "中药": (2786, 429, 262), "西医诊断": (2444, 308, 330), "中医证候": (1170, 136, 158),
    "中医治疗": (1081, 111, 133), "方剂": (1012, 120, 111), "西医治疗": (465, 44, 53), "中医治则": (297, 53, 47),
    "中医诊断": (246, 42, 48), "其他治疗": (65, 8, 12),
}  # fmt: skip


def counts(path: Path) -> tuple[int, Counter[str]]:
    records = list(read_gold(path))
    return len(records), Counter(entity.label for record in records for entity in record.entities or ())


def test_cluener_counts_equal_the_published_ones(workplace: Path, shared: Path, cli: Cli) -> None:
    begin = time.perf_counter()
    result = cli("ner-data", "convert", "cluener", "--raw", shared / "data/cluener")
    seconds = time.perf_counter() - begin
    assert result.code == 0, result.err
    assert "data/gold/cluener/train.jsonl: read 10748, kept 10748, rejected 0" in result.out
    size, labels = counts(Path("data/gold/cluener/train.jsonl"))
    assert (size, labels) == (10748, Counter({label: row[0] for label, row in CLUENER.items()}))
    size, labels = counts(Path("data/gold/cluener/dev.jsonl"))
    assert (size, labels) == (1343, Counter({label: row[1] for label, row in CLUENER.items()}))
    test = list(read_gold(Path("data/gold/cluener/test.jsonl")))
    assert len(test) == 1345
    assert all(record.entities is None for record in test)
    assert seconds < 5


def test_tcm_counts_equal_the_published_ones(workplace: Path, shared: Path, cli: Cli) -> None:
    result = cli("ner-data", "convert", "tcm", "--raw", shared / "data/tcm")
    assert result.code == 0, result.err
    for index, (split, size) in enumerate({"train": 5259, "dev": 657, "test": 658}.items()):
        expected = Counter({label: row[index] for label, row in TCM.items()})
        assert counts(Path(f"data/gold/tcm/{split}.jsonl")) == (size, expected)
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


def raw(workplace: Path, **files: bytes) -> Path:
    folder = workplace / "raw"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        (folder / f"{split}.json").write_bytes(files.get(split, GOOD.encode()))
    return folder


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["train.json: the file is empty"]),
        ("{'text': '甲'}\n".encode("gbk"), ["train.json:1: not UTF-8", "GBK", "iconv"]),
        (b'\xff\xfe{"text"', ["train.json:1: not UTF-8"]),
        (GOOD.encode() + b'{"text": \n', ["train.json:2: record 2: not JSON", "--skip-bad"]),
        (
            GOOD.replace('"甲"', '"乙"').encode(),
            ["train.json:1: record 1: name '乙' at [0, 0], but the text has '甲' there", "--skip-bad"],
        ),
        (GOOD.replace("name", "river").encode(), ["train.json:1: record 1: unknown label river; known: address, "]),
    ],
)
def test_bad_input_ends_in_one_line_and_writes_nothing(
    workplace: Path, cli: Cli, content: bytes, parts: list[str]
) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", raw(workplace, train=content)))
    for part in parts:
        assert part in message
    assert not Path("data/gold").exists()


def test_a_missing_file_is_named_with_its_remedy(workplace: Path, cli: Cli) -> None:
    message = one_line_error(cli("ner-data", "convert", "demo", "--raw", workplace / "nowhere"))
    assert message.endswith("nowhere/train.json: no such file; name the folder that has it with --raw DIR")


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
    # Ids count what was read, so that they stay the same when a bad record is mended.
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


def test_a_full_disk_leaves_the_old_file_and_no_new_one(
    workplace: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("fetch", "convert"):
        cli("ner-data", command, "demo")
    before = {path: path.read_bytes() for path in (workplace / "data/gold/demo").iterdir()}
    # /dev/full takes no byte: every write to it ends as on a full disk.
    real = Path.open

    def full(self: Path, mode: str = "r", **options: object) -> object:
        return real(Path("/dev/full") if "w" in mode else self, mode, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as context:
        context.setattr(Path, "open", full)
        result = cli("ner-data", "convert", "demo")
    assert "No space left on device" in one_line_error(result)
    assert {path: path.read_bytes() for path in (workplace / "data/gold/demo").iterdir()} == before
