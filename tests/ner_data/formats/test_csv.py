"""Tables with a column of spans: delimiters, quotes, Excel, what is refused and why, and what is written."""

import csv as standard
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import csv
from ner_data.formats._skipping import EMPTY
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import reasons, written
from support import Result

GOOD = """id,text,entities
1,林晓在云帆科技任经理,"[[0, 2, ""name""], [3, 7, ""company""]]"
2,没有人,[]
""".encode()
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")


def row(*spans: object, text: str = "林晓在云帆科技任经理", header: str = "text,entities") -> bytes:
    cell = json.dumps(spans, ensure_ascii=False).replace('"', '""')
    return f'{header}\n{text},"{cell}"\n'.encode()


MALFORMED: list[tuple[str, bytes]] = [
    ("no column of the text", row(header="sentence,entities")),
    ("no column of the spans", row(header="text,labels")),
    ("another delimiter", GOOD.replace(b",", b"|")),
    ("two columns of a name", b"text,text,entities\na,b,[]\n"),
    ("no header", GOOD.partition(b"\n")[2]),
    ("too many columns", b"text,entities\na,b,[]\n"),
    ("too few columns", b"text,entities\na\n"),
    ("a delimiter that is not quoted", 'text,entities\n甲,[[0, 1, "x"]]\n'.encode()),
    ("a quote that is not closed", b'text,entities\n"a,[]\nb,[]\n'),
    ("a quote inside a cell", b'text,entities\n"a"b,[]\n'),
    ("no text", b"text,entities\n ,[]\n"),
    ("an empty cell", b"text,entities\na,\n"),
    ("spans that are no JSON", b"text,entities\na,name\n"),
    ("spans in Python", b"text,entities\na,\"[(0, 1, 'name')]\"\n"),
    ("spans that are an object", b"text,entities\na,{}\n"),
    ("the end is behind the text", row([8, 11, "name"])),
    ("reversed offsets", row([2, 0, "name"])),
    ("an offset is a string", row(["0", 2, "name"])),
    ("an offset is a float", row([0.0, 2, "name"])),
    ("a label is a number", row([0, 2, 1])),
    ("the surface is elsewhere", row({"start": 1, "end": 3, "label": "name", "text": "林晓"})),
    ("an object without an end", row({"start": 1, "label": "name"})),
    ("an object without a label", row({"start": 1, "end": 2})),
    ("labels are a string", row({"start": 1, "end": 2, "labels": "name"})),
    ("a lone surrogate", b'text,entities\na,"[[0, 1, ""\\ud800""]]"\n'),
    ("GBK", GOOD.decode().encode("gb18030")),
    ("UTF-16", GOOD.decode().encode("utf-16")),
]


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("change", [lambda data: data, lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")])
def test_tables_of_all_delimiters_are_read(tmp_path: Path, delimiter: str, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = standard.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerows(standard.reader(GOOD.decode().splitlines()))
    first, second = read(csv, put(path, change(path.read_bytes())), gold=True)
    assert (first.line, first.identity, first.entities) == (2, "1", (NAME, COMPANY))
    assert (second.line, second.identity, second.entities) == (3, "2", ())


def test_cells_may_have_line_breaks_quotes_and_delimiters(tmp_path: Path) -> None:
    content = b'entities,text\r\n"[[0,3,""x""]]"," a,\r\n""b"""\r\n\r\n[],c\r\n'
    first, second = read(csv, put(tmp_path / "a.csv", content), gold=True)
    assert (first.line, first.text, first.entities) == (2, ' a,\n"b"', (Entity(0, 3, "x", " a,"),))
    assert (second.line, second.text) == (5, "c")


@pytest.mark.parametrize("name", ["sep=;", '"sep=;"', "SEP=;"])
def test_excel_may_name_the_delimiter_and_leave_empty_rows(tmp_path: Path, name: str) -> None:
    content = f"\ufeff{name}\r\ntext;entities;x,y\r\n;;\r\na, b;[];\r\n; ;\r\nb;[[0, 1, x]];\r\n;;\r\n;;;\r\n\r\n"
    first, second = read(csv, put(tmp_path / "a.csv", content.encode()), gold=True)
    assert (first.line, first.text, first.entities, first.skipped) == (4, "a, b", (), (EMPTY,))
    assert (second.line, second.skipped) == (6, (EMPTY,) * 3)
    assert second.problem and second.problem[0] == "malformed entities"


def test_empty_rows_are_counted_by_convert(workplace: Path, cli: Callable[..., Result]) -> None:
    put(Path("a.csv"), GOOD + b",,\n,,\n")
    assert cli("ner-data", "init", "mine", "a.csv").code == 0
    out = cli("ner-data", "convert", "mine", "--raw", ".").out
    assert "a/gold/mine/train.jsonl: read 2, kept 2, rejected 0; empty rows (skipped): 2\n" in out


@pytest.mark.parametrize(
    "span",
    [
        [0, 2, "name"],
        {"start": 0, "end": 2, "label": "name"},
        {"start": 0, "end": 2, "text": "林晓", "labels": ["name"]},
        {"id": 4, "start_offset": 0, "end_offset": 2, "label": "name"},
    ],
)
def test_spans_may_be_lists_or_objects(tmp_path: Path, span: object) -> None:
    (sample,) = read(csv, put(tmp_path / "a.csv", row(span)), gold=True)
    assert sample.entities == (NAME,)


def test_label_studios_table_has_empty_cells_for_annotations_without_regions(tmp_path: Path) -> None:
    content = b'"annotation_id","annotator","id","label","lead_time","text"\n3,"1",7,"",1.5,"a"\n'
    (sample,) = read(csv, put(tmp_path / "a.csv", content), gold=True, entities="label")
    assert (sample.identity, sample.text, sample.entities) == ("7", "a", ())


def test_columns_are_options(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", row([0, 2, "name"], header="句子,标注"))
    (sample,) = read(csv, path, gold=True, text="句子", entities="标注")
    assert sample.entities == (NAME,)


def test_without_gold_the_spans_are_not_looked_at(tmp_path: Path) -> None:
    (sample,) = read(csv, put(tmp_path / "a.csv", b"text\na\n"), gold=False)
    assert (sample.text, sample.entities, sample.problem) == ("a", None, None)


def test_what_is_written_is_read_back_and_is_what_excel_reads(tmp_path: Path) -> None:
    entities = (Entity(0, 1, "x", "😀"), Entity(1, 4, "x", '\n"甲'), Entity(1, 6, "y", '\n"甲,乙'))
    records = [Record("a", '😀\n"甲,乙 ', entities), Record("b", "=1;2\t", ()), Record("c", "?", None)]
    path = written(csv, records, tmp_path / "out")
    assert path.read_bytes().startswith("\ufeffid,text,entities\r\na,".encode())
    first, second, third = read(csv, path, gold=True)
    assert (first.identity, first.text, first.entities) == ("a", records[0].text, entities)
    assert (second.text, second.entities) == ("=1;2\t", ())
    assert third.problem and third.problem[0] == "no gold"
    assert csv.Reader().refusal(Record("d", "a\rb", ())) == (
        "control character", "has '\\r' at character 1, which CSV cannot hold",
    )  # fmt: skip


def test_malformed_files_and_records_have_a_reason(tmp_path: Path) -> None:
    quotes = csv.QUOTES
    assert reasons(csv, MALFORMED, tmp_path / "a.csv") == {
        "no column of the text": "a.csv:1: the first row has no column 'text': 'sentence,entities'; "
        "name it with `options: {text: COLUMN}`",
        "no column of the spans": "no gold",
        "another delimiter": "a.csv:1: the first row has no column 'text': 'id|text|entities'; "
        "name it with `options: {text: COLUMN}`",
        "two columns of a name": "a.csv:1: several columns are called 'text'; give them different names",
        "no header": "a.csv:1: the first row has no column 'text': "
        '\'1,林晓在云帆科技任经理,"[[0, 2, ""name""], [3, 7, ""company""]]"\'; name it with `options: {text: COLUMN}`',
        "too many columns": "wrong number of columns",
        "too few columns": "wrong number of columns",
        "a delimiter that is not quoted": "wrong number of columns",
        "a quote that is not closed": "a.csv:2: the row that starts here has wrong quotes (unexpected end of data); "
        + quotes,
        "a quote inside a cell": "a.csv:2: the row that starts here has wrong quotes (',' expected after '\"'); "
        + quotes,
        "no text": "no text",
        "an empty cell": "no gold",
        "spans that are no JSON": "malformed entities",
        "spans in Python": "malformed entities",
        "spans that are an object": "malformed entities",
        "the end is behind the text": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an offset is a string": "malformed offsets",
        "an offset is a float": "malformed offsets",
        "a label is a number": "malformed label",
        "the surface is elsewhere": "offsets do not match",
        "an object without an end": "malformed entities",
        "an object without a label": "malformed entities",
        "labels are a string": "malformed label",
        "a lone surrogate": "lone surrogate",
        "GBK": "a.csv:2: not UTF-8 at byte 2 of the line; it looks like GBK: use `--encoding gb18030`, or "
        "`iconv -f GB18030 -t UTF-8`",
        "UTF-16": "a.csv: is UTF-16; use `--encoding utf-16`, or convert it to UTF-8",
    }


def test_a_quote_that_swallows_the_file_is_told_after_a_bounded_part_of_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", b'text,entities\na,[]\n"b,[]\n' + b"c,[]\n" * 450_000)
    with pytest.raises(
        UserError, match=r"a\.csv:3: a row of more than 2,097,152 characters: is a quote not closed\? cells"
    ):
        read(csv, path, gold=True)


def test_messages_say_what_is_there_and_what_helps(tmp_path: Path) -> None:
    (sample,) = read(csv, put(tmp_path / "a.csv", row(header="text,labels")), gold=True)
    assert sample.problem == (
        "no gold",
        "there is no column 'entities', only text, labels; name it with `options: {entities: COLUMN}`, "
        "or set `gold: false` for a split without labels",
    )
    with pytest.raises(UserError, match=r"a\.csv:1: the first row has no column 'x'"):
        read(csv, put(tmp_path / "a.csv", GOOD), gold=True, text="x")
