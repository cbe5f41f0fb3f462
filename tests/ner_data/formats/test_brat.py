"""brat's folders: documents, fragments, line ends, what is refused and why, and what is written."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from ner_common.errors import UserError
from ner_data.formats import brat
from ner_data.gold import Entity, Record
from raw_files import read
from record_files import put, reasons, written

TEXT = "林晓在云帆科技任经理"
NAME, COMPANY = Entity(0, 2, "name", "林晓"), Entity(3, 7, "company", "云帆科技")
GOOD: Mapping[str, bytes] = {
    "1.txt": f"{TEXT}\n".encode(),
    "1.ann": "T1\tname 0 2\t林晓\nT2\tcompany 3 7\t云帆科技\nR1\tworks_for Arg1:T1 Arg2:T2\n".encode(),
    "2.txt": "没有人\n".encode(),
    "2.ann": b"",
}


def document(*rows: str, text: str = TEXT) -> Mapping[str, bytes]:
    return {"a.txt": text.encode(), "a.ann": "".join(f"{row}\n" for row in rows).encode()}


MALFORMED: list[tuple[str, Mapping[str, bytes] | bytes]] = [
    ("a file", b"T1\tname 0 2\t\n"),
    ("no documents", {"annotation.conf": b"[entities]\n", "a.pdf": b"a"}),
    ("no .ann", {"a.txt": b"a", "annotation.conf": b""}),
    ("no .txt", {"a.ann": b"T1\tname 0 1\ta\n", "annotation.conf": b""}),
    ("an empty .txt", {"a.txt": b"", "a.ann": b""}),
    ("a discontinuous mention", document("T1\tname 0 1;2 3\t林 在")),
    ("fragments that are not in order", document("T1\tname 2 3;0 1\t在 林")),
    ("the surface is elsewhere", document("T1\tname 1 3\t林晓")),
    ("the end is behind the text", document("T1\tname 8 11\t经理")),
    ("reversed offsets", document("T1\tname 2 0\t林晓")),
    ("an empty mention", document("T1\tname 2 2\t")),
    ("a negative offset", document("T1\tname -2 2\t林晓")),
    ("an offset is a float", document("T1\tname 0.0 2\t林晓")),
    ("a label with a space", document("T1\tfull name 0 2\t林晓")),
    ("no label", document("T1\t0 2\t林晓")),
    ("spaces for tabs", document("T1 name 0 2 林晓")),
    ("no surface", document("T1\tname 0 2")),
    ("a line that is no annotation", document("林晓 name")),
    ("GBK", {"a.txt": TEXT.encode("gb18030"), "a.ann": b""}),
    ("a NUL", {"a.txt": b"a\0b", "a.ann": b""}),
]


def test_documents_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    more = {"b/1.txt": b"x", "b/1.ann": b"\n", ".git/1.txt": b"y", "annotation.conf": b"[entities]\n"}
    first, second, third = read(brat, put({**GOOD, **more}, tmp_path / "train"), gold=True)
    assert (first.file, first.line, first.text, first.entities) == ("1.txt", 1, TEXT, (NAME, COMPANY))
    assert first.repairs == (brat.OTHERS,)
    assert (second.file, second.text, second.entities, second.problem) == ("2.txt", "没有人", (), None)
    assert (third.file, third.text, third.entities) == ("b/1.txt", "x", ())


def test_other_annotations_are_counted(tmp_path: Path) -> None:
    others = [
        "E1\tMove:T1",
        "A1\tNegation E1",
        "M2\tNegation E1",
        "N1\tReference T1 Wiki:1\tx",
        "#1\tAnnotatorNotes T1\t?",
        "*\tAlias T1 T1",
    ]
    (sample,) = read(brat, put(document("T1\tname 0 2\t林晓", *others), tmp_path / "train"), gold=True)
    assert (sample.entities, sample.repairs) == ((NAME,), (brat.OTHERS,) * 6)


@pytest.mark.parametrize("row", ["T1\tx 1 3;4 6\t乙丙 丁戊", "T1\tx 1 6\t乙丙 丁戊", "T1\tx 1 2;2 3;4 6\t乙 丙 丁戊"])
def test_fragments_with_only_a_line_break_between_them_are_a_mention(tmp_path: Path, row: str) -> None:
    (sample,) = read(brat, put(document(row, text="甲乙丙\n丁戊"), tmp_path / "train"), gold=True)
    assert (sample.entities, sample.problem) == ((Entity(1, 6, "x", "乙丙\n丁戊"),), None)


@pytest.mark.parametrize(
    ("row", "repairs"),
    [("T1\tx 3 5\t丙丁", ()), ("T1\tx 4 6\t丙丁", (brat.CRLF,)), ("T1\tx 1 2;4 5\t乙 丙", (brat.CRLF,))],
)
def test_the_surface_tells_how_cr_lf_counts(tmp_path: Path, row: str, repairs: tuple[str, ...]) -> None:
    (sample,) = read(brat, put(document(row, text="甲乙\r\n丙丁\r\n"), tmp_path / "train"), gold=True)
    wanted = Entity(1, 4, "x", "乙\n丙") if ";" in row else Entity(3, 5, "x", "丙丁")
    assert (sample.text, sample.entities, sample.repairs) == ("甲乙\n丙丁", (wanted,), repairs)


def test_much_white_space_between_fragments_takes_no_long_time(tmp_path: Path) -> None:
    text = "甲" + " \n" * 200_000 + "乙"
    (bad,) = read(
        brat,
        put(document(f"T1\tx 0 1;{len(text)} {len(text) + 1}\t甲 丙", text=text + "丙"), tmp_path / "train"),
        gold=True,
    )
    assert bad.problem and bad.problem[0] == "discontinuous mention"
    (good,) = read(
        brat, put(document(f"T1\tx 0 1;{len(text) - 1} {len(text)}\t甲 乙", text=text), tmp_path / "train"), gold=True
    )
    assert good.entities and good.entities[0].text == text


def test_without_gold_no_ann_is_needed(tmp_path: Path) -> None:
    (sample,) = read(brat, put({"a.txt": b"a\n\n"}, tmp_path / "test"), gold=False)
    assert (sample.text, sample.entities, sample.problem) == ("a\n", None, None)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    text = "😀甲 乙\n \t丙e\u0301\n"
    entities = (
        Entity(0, 1, "x", "😀"),
        Entity(1, 8, "x", "甲 乙\n \t丙"),
        Entity(1, 9, "y", "甲 乙\n \t丙e"),
        Entity(8, 10, "x", "e\u0301"),
    )
    records = [Record("a/b", text, entities), Record("b", "没有人", ()), Record("c", "?", None)]
    path = written(brat, records, tmp_path / "out")
    assert sorted(file.name for file in path.iterdir()) == [
        "0000001-a_b.ann", "0000001-a_b.txt", "0000002-b.ann", "0000002-b.txt", "0000003-c.txt",
    ]  # fmt: skip
    assert (path / "0000001-a_b.ann").read_text("utf-8").split("\n")[1] == "T2\tx 1 4;7 8\t甲 乙 丙"
    first, second, third = read(brat, path, gold=True)
    assert (first.text, first.entities, first.repairs) == (text, entities, ())
    assert (second.text, second.entities) == ("没有人", ())
    assert third.problem and third.problem[0] == "no gold"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record("a", " \n", ()), "no text"),
        (Record("a", "a\rb", ()), "control character"),
        (Record("a", "a\0", ()), "control character"),
        (Record("a", "\ufeffa", ()), "control character"),
        (Record("a", "a", (Entity(0, 1, "full name", "a"),)), "label with a space"),
        (Record("a", "a\nb", (Entity(0, 2, "x", "a\n"),)), "line break at the end of a mention"),
        (Record("a", "a \tb", (Entity(1, 4, "x", " \tb"),)), "line break at the end of a mention"),
    ],
)
def test_what_it_cannot_hold_is_refused(record: Record, reason: str) -> None:
    found = brat.Reader().refusal(record)
    assert found and found[0] == reason


def test_malformed_folders_and_documents_have_a_reason(tmp_path: Path) -> None:
    assert reasons(brat, MALFORMED, tmp_path / "train") == {
        "a file": "train: is a file; name the folder with the .txt and .ann files",
        "no documents": "train: no .txt in this folder; brat has a .txt and an .ann per document",
        "no .ann": "no gold",
        "no .txt": "unreadable document",
        "an empty .txt": "no text",
        "a discontinuous mention": "discontinuous mention",
        "fragments that are not in order": "malformed annotation",
        "the surface is elsewhere": "offsets do not match",
        "the end is behind the text": "offsets out of range",
        "reversed offsets": "reversed offsets",
        "an empty mention": "empty mention",
        "a negative offset": "malformed annotation",
        "an offset is a float": "malformed annotation",
        "a label with a space": "malformed annotation",
        "no label": "malformed annotation",
        "spaces for tabs": "malformed annotation",
        "no surface": "malformed annotation",
        "a line that is no annotation": "malformed annotation",
        "GBK": "unreadable document",
        "a NUL": "unreadable document",
    }
    with pytest.raises(UserError, match=r"none: no such folder; name the folder that has it with --raw DIR"):
        read(brat, tmp_path / "none", gold=True)


def test_messages_name_the_line_and_what_is_there(tmp_path: Path) -> None:
    folder = put(document("T1\tname 0 2\t林晓", "", "T2\tname 0 1;2 3\t林 在"), tmp_path / "train")
    (sample,) = read(brat, folder, gold=True)
    assert sample.problem == (
        "discontinuous mention", "line 3 of the .ann: name '林 在' leaves out '晓': gold has no such mentions",
    )  # fmt: skip
    assert (sample.file, sample.labels) == ("a.txt", {"name"})
    (sample,) = read(brat, put(document("T1\tname 0 2\t云帆"), folder), gold=True)
    assert sample.problem and sample.problem[1] == (
        "line 1 of the .ann: name '云帆' at [0, 2), but the text has '林晓' there (ends are exclusive)"
    )
    (sample,) = read(brat, put({"a.ann": b"T1\tname 0 1\ta\n"}, folder), gold=True)
    assert sample.problem and sample.problem[1] == "there is an .ann, but no 'a.txt'"
