"""Parquet and Arrow with tokens and tags: names of tags, joining, folders, damage, and what is written."""

import io
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ner_common.errors import UserError
from ner_data.detect import detect
from ner_data.formats import hf_datasets
from ner_data.formats._skipping import EMPTY
from ner_data.gold import Entity, Record
from ner_data.source import Source
from raw_files import read
from record_files import Content, put, reasons, written
from support import ROOT

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

NAMES = ["O", "B-name", "I-name", "B-company", "I-company"]
TOKENS = list("林晓在云帆科技任经理")
TAGS = [1, 2, 0, 3, 4, 4, 4, 0, 0, 0]
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")


def features(names: object = NAMES, form: str = "List") -> dict[str, object]:
    tag: object = {"names": names, "_type": "ClassLabel"}
    tags = [tag] if form == "list" else {"feature": tag, "_type": form}
    return {"features": {"ner_tags": tags}}


def table(rows: list[dict[str, Any]], info: dict[str, object] | None = None, tags: Any = None) -> Any:
    columns = {key: None for row in rows for key in row}
    types = {
        "id": pa.string(),
        "tokens": pa.list_(pa.string()),
        "ner_tags": pa.list_(tags or pa.int64()),
        "text": pa.string(),
    }
    metadata = {"huggingface": json.dumps({"info": info})} if info else None
    schema = pa.schema([(name, types[name]) for name in columns], metadata=metadata)
    return pa.Table.from_pylist(rows, schema=schema)


def parquet(rows: list[dict[str, Any]], info: dict[str, object] | None = None, tags: Any = None) -> bytes:
    with io.BytesIO() as file:
        pa.parquet.write_table(table(rows, info, tags), file)
        return file.getvalue()


def arrow(rows: list[dict[str, Any]], info: dict[str, object] | None = None, stream: bool = True) -> bytes:
    with io.BytesIO() as file:
        content = table(rows, info)
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, content.schema) as writer:
            writer.write_table(content)
        return file.getvalue()


def row(tokens: object = TOKENS, tags: object = TAGS, **more: object) -> dict[str, Any]:
    return {"tokens": tokens, "ner_tags": tags, **more}


STATE = json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "0"}).encode()
GOOD = parquet([row(id="a"), row(list("没有人"), [0, 0, 0], id="b")], features())
MALFORMED: list[tuple[str, Content]] = [
    ("no tokens", parquet([{"text": "a", "ner_tags": [0]}], features())),
    ("no tags", parquet([{"tokens": ["a"]}], features())),
    ("tags without names", parquet([row()])),
    ("a tag behind the names", parquet([row(["a"], [5])], features())),
    ("a negative tag", parquet([row(["a"], [-100])], features())),
    ("tags that are no B, I or O", parquet([row(["a"], [1])], features(["O", "PER"]))),
    ("a tag is null", parquet([row(["a"], [None])], features())),
    ("tags are null", parquet([row(["a"], None)], features())),
    ("tokens are null", parquet([row(None, [])], features())),
    ("a token is null", parquet([row([None], [0])], features())),
    ("an empty token", parquet([row(["a", ""], [0, 0])], features())),
    ("fewer tags than tokens", parquet([row(["a", "b"], [0])], features())),
    ("no tokens in a row", parquet([row([], [0])], features())),
    ("only white space", parquet([row([" "], [0])], features())),
    ("positions in words", parquet([row([f"{c}{n}" for n, c in enumerate("林晓在")], [1, 2, 0])], features())),
    ("not Parquet", b"\x00\x01\x02\x03"),
    ("an empty file", b""),
    ("a script", {"corpus.py": b"import os\n", "README.md": b""}),
    ("cut off", GOOD[:-100]),
    ("only the start", b"PAR1"),
    ("Arrow that is cut off", arrow([row()], features())[:300]),
    ("a folder of several splits", {"train-00000-of-00001.parquet": GOOD, "test-00000-of-00001.parquet": GOOD}),
    ("a folder that lacks a shard", {"train-00001-of-00002.parquet": GOOD, "README.md": b""}),
    ("a saved DatasetDict", {"dataset_dict.json": b'{"splits": ["train", "test"]}', "README.md": b""}),
    ("a saved split without its data", {"state.json": STATE, "dataset_info.json": b"{}"}),
    ("a saved split with data elsewhere", {"state.json": b'{"_data_files": [{"filename": "../a.arrow"}]}', "a.arrow": b""}),
    ("a state.json of something else", {"state.json": b"[]", "a.arrow": b""}),
]  # fmt: skip


@pytest.mark.parametrize("form", ["List", "Sequence", "list"])
def test_parquet_is_read_with_the_names_in_its_metadata(tmp_path: Path, form: str) -> None:
    first, second = read(
        hf_datasets, put(parquet([row(id="a"), row(["没"], [0], id="b")], features(form=form)), tmp_path / "a"), True
    )
    assert (first.line, first.identity, first.text, first.entities) == (1, "a", "".join(TOKENS), (NAME, COMPANY))
    assert (second.line, second.text, second.entities, second.file) == (2, "没", (), "")


@pytest.mark.parametrize(
    "files",
    [
        {"state.json": STATE, "data-00000-of-00001.arrow": arrow([row()], features())},
        {
            "state.json": STATE,
            "data-00000-of-00001.arrow": arrow([row()]),
            "dataset_info.json": json.dumps(features()).encode(),
        },
        {"a.parquet": parquet([row()], features())},
        {"train-00000-of-00001.parquet": parquet([row()], features())},
    ],
)
def test_folders_are_read(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    (sample,) = read(hf_datasets, put(files, tmp_path / "train"), gold=True)
    assert (sample.entities, sample.file in files) == ((NAME, COMPANY), True)


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files_are_read_in_order(tmp_path: Path, stream: bool) -> None:
    rows = [row([str(number)], [0]) for number in range(2500)]
    samples = read(hf_datasets, put(arrow(rows, features(), stream), tmp_path / "a.arrow"), gold=True)
    assert [(sample.line, sample.text) for sample in samples] == [(at + 1, str(at)) for at in range(2500)]


def test_names_of_tags_may_be_in_the_column_or_an_option(tmp_path: Path) -> None:
    tags = [NAMES[tag] for tag in TAGS]
    (sample,) = read(hf_datasets, put(parquet([row(tags=tags)], tags=pa.string()), tmp_path / "a"), gold=True)
    assert sample.entities == (NAME, COMPANY)
    (sample,) = read(hf_datasets, put(parquet([row()]), tmp_path / "a"), gold=True, labels=",".join(NAMES))
    assert sample.entities == (NAME, COMPANY)


def test_rows_without_tokens_and_tags_are_skipped_and_counted(tmp_path: Path) -> None:
    """As msra_ner and peoples_daily_ner have one at the end."""
    rows = [row([], []), row(id="a"), row([], []), row([], []), row(["没"], [0]), row([], [])]
    first, second = read(hf_datasets, put(parquet(rows, features()), tmp_path / "a"), gold=True)
    assert (first.line, first.skipped, first.problem) == (2, (EMPTY,), None)
    assert (second.line, second.skipped, second.problem) == (5, (EMPTY,) * 3, None)
    (sample,) = read(hf_datasets, put(parquet([row(["a"], [9]), row([], [])], features()), tmp_path / "a"), gold=True)
    assert sample.problem and sample.skipped == (EMPTY,)
    (sample,) = read(hf_datasets, put(parquet([row([], [0]), row([], [])], features()), tmp_path / "a"), gold=True)
    assert sample.problem and sample.problem[0] == "no text"


def test_other_schemes_and_orphans_are_read(tmp_path: Path) -> None:
    tags = ["B-x", "E-x", "S-x", "B-x", "M-x", "E-x", "I-y", "I-x", "U-x", "L-x"]
    (sample,) = read(
        hf_datasets,
        put(parquet([row(list("甲乙丙丁戊己庚辛壬癸"), tags)], tags=pa.string()), tmp_path / "a"),
        gold=True,
    )
    assert [(entity.text, entity.label) for entity in sample.entities or ()] == [
        ("甲乙", "x"), ("丙", "x"), ("丁戊己", "x"), ("庚", "y"), ("辛", "x"), ("壬", "x"), ("癸", "x"),
    ]  # fmt: skip
    assert sample.repairs == (hf_datasets.ORPHAN,) * 3


@pytest.mark.parametrize(
    ("join", "text", "mention"),
    [
        ("auto", "在New York的 CT5é 1a", "New York"),
        ("none", "在NewYork的 CT5é1a", "NewYork"),
        ("space", "在 New York 的   C T 5 é 1a", "New York"),
    ],
)
def test_tokens_are_joined(tmp_path: Path, join: str, text: str, mention: str) -> None:
    tokens, tags = ["在", "New", "York", "的", " ", "C", "T", "5", "é", "1a"], [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    (sample,) = read(hf_datasets, put(parquet([row(tokens, tags)], features()), tmp_path / "a"), gold=True, join=join)
    assert (sample.text, [entity.text for entity in sample.entities or ()]) == (text, [mention])
    assert len(sample.repairs) == (2 if join == "auto" else 0)


def test_marks_of_a_word_segmentation_are_dropped_if_told_so_and_init_proposes_it(tmp_path: Path) -> None:
    """As in weibo_ner: 口0 腔1."""
    marks = [f"{character}{at % 2}" for at, character in enumerate(TOKENS)]
    path = put(parquet([row(marks), row(["口0", "腔1", "，"], [0, 0, 0])], features()), tmp_path / "a.parquet")
    best, _ = detect(Source(path))
    assert (best.format, best.options) == ("hf_datasets", {"segmentation": True})
    first, second = best.samples
    assert (first.text, first.entities, second.text) == ("".join(TOKENS), (NAME, COMPANY), "口腔，")
    put(parquet([row(["口0", "腔5"], [0, 0])], features()), path)
    (sample,) = read(hf_datasets, path, gold=True, segmentation=True)
    assert sample.problem == (
        "positions in words",
        "the token 2 has no position in a word, or one that cannot follow '0': '腔5'",
    )
    put(parquet([row()], features()), path)
    with pytest.raises(UserError, match=r"a\.parquet: the characters carry no marks .* remove the option"):
        read(hf_datasets, path, gold=True, segmentation=True)


def test_without_gold_tags_are_not_looked_at(tmp_path: Path) -> None:
    (sample,) = read(hf_datasets, put(parquet([row(["a"], [-1])]), tmp_path / "a"), gold=False)
    assert (sample.text, sample.entities, sample.problem) == ("a", None, None)


def test_malformed_files_and_rows_have_a_reason(tmp_path: Path) -> None:
    found = reasons(hf_datasets, MALFORMED, tmp_path / "data")
    damaged = {
        key: found.pop(key)
        for key in ("cut off", "only the start", "Arrow that is cut off", "a state.json of something else")
    }
    assert all(message.startswith("data") and "again" in message for message in damaged.values()), damaged
    assert found == {
        "no tokens": "data: has no column 'tokens', only text, ner_tags; name it with `options: {tokens: COLUMN}`",
        "no tags": "no gold",
        "tags without names": "numbers for tags",
        "a tag behind the names": "unknown tag",
        "a negative tag": "unknown tag",
        "tags that are no B, I or O": "unknown tag",
        "a tag is null": "unknown tag",
        "tags are null": "no gold",
        "tokens are null": "malformed tokens",
        "a token is null": "malformed tokens",
        "an empty token": "empty token",
        "fewer tags than tokens": "tokens and tags differ",
        "no tokens in a row": "no text",
        "only white space": "no text",
        "positions in words": "data:1: the tokens carry their positions in words, or other marks of a word segmentation: "
        "['林0', '晓1', '在2']; remove these digits or letters, or they become text; "
        "`options: {segmentation: true}` drops them",
        "not Parquet": "data: is neither a Parquet nor an Arrow file",
        "an empty file": "data: is neither a Parquet nor an Arrow file",
        "a script": "data: no state.json, as Dataset.save_to_disk writes it, and no .parquet in this folder; "
        "name the folder or file of a split",
        "a folder of several splits": "data: has Parquet files of several splits: test, train; "
        "name one file, or have a folder for each split",
        "a folder that lacks a shard": "data: has 1 of 2 files of the split train; download the others",
        "a saved DatasetDict": "data: has the splits train, test; name the folder of one of them",
        "a saved split without its data": "data: lacks data-00000-of-00001.arrow, which state.json names; "
        "copy the whole folder",
        "a saved split with data elsewhere": "data/state.json: names no data files in this folder; save the dataset again",
    }


@pytest.mark.parametrize("content", [GOOD, arrow([row()] * 20, features()), arrow([row()] * 20, features(), False)])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    chance, refused = random.Random(1), 0
    for _ in range(150):
        data = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            samples = read(
                hf_datasets,
                put(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])]), tmp_path / "a"),
                True,
            )
        except UserError as error:
            assert "\n" not in str(error) and "a: " in str(error)
            refused += 1
        else:
            assert all(sample.problem or sample.text for sample in samples)
    assert refused > 50


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    entities = (Entity(0, 1, "x", "😀"), Entity(1, 3, "x", "CT"), Entity(3, 5, "y", "\ne"))
    records = [Record("a", "😀CT\ne\u0301 ab 1", entities), Record("b", "没有人", ()), Record("c", "?", None)]
    path = written(hf_datasets, records, tmp_path / "out")
    assert path.name == "out.parquet"
    first, second, third = read(hf_datasets, path, gold=True)
    assert (first.identity, first.text, first.entities, first.repairs) == ("a", records[0].text, entities, ())
    assert (second.text, second.entities) == ("没有人", ())
    assert third.problem and third.problem[0] == "no gold"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def records() -> Any:
        yield Record("a", "甲", ())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(hf_datasets, records(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="this format needs the package pyarrow: pip install pyarrow"):
        read(hf_datasets, put(GOOD, tmp_path / "a.parquet"), gold=True)


LOAD = """
import sys, datasets
folder = sys.argv[1]
data = datasets.load_dataset("parquet", data_files={"train": f"{folder}/out.parquet"}, cache_dir=f"{folder}/cache")["train"]
names = data.features["ner_tags"].feature.names
assert names == ["O", "B-company", "I-company", "B-name", "I-name"], names
assert [names[tag] for tag in data[0]["ner_tags"]][:4] == ["B-name", "I-name", "O", "B-company"]
data.save_to_disk(f"{folder}/saved")
datasets.DatasetDict(train=data).save_to_disk(f"{folder}/both")
data.to_parquet(f"{folder}/again.parquet")
"""


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv-train/bin/python").exists(), reason="needs datasets, in the train environment")
def test_datasets_reads_what_is_written_and_what_it_saves_is_read(tmp_path: Path) -> None:
    record = Record("a", "".join(TOKENS), (NAME, COMPANY))
    written(hf_datasets, [record, Record("b", "没有人", ())], tmp_path / "out")
    command = [str(ROOT / ".venv-train/bin/python"), "-c", LOAD, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for name in ("again.parquet", "saved", "both/train"):
        first, second = read(hf_datasets, tmp_path / name, gold=True)
        assert (first.identity, first.text, first.entities) == ("a", record.text, record.entities)
        assert second.entities == ()
    with pytest.raises(UserError, match="both: has the splits train; name the folder of one of them"):
        read(hf_datasets, tmp_path / "both", gold=True)
