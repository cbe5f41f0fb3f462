"""What BIO, BIOES, BMES and BMEWO have in common: notations, marks of a word segmentation, broken mentions, writing."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from ner_common.errors import UserError
from ner_data.formats import bio, bioes, bmes, bmewo
from ner_data.formats._schemes import SCHEMES, Unclear, spans, split_tag, tags_of
from ner_data.gold import Entity, Record
from raw_files import read, written

FORMATS = [bio, bioes, bmes, bmewo]
by_name = pytest.mark.parametrize("format", FORMATS, ids=lambda module: module.__name__.rpartition(".")[2])
LABELS = st.sampled_from(["x", "人名", "PER.NAM", "a-b", "I", "B_x"])


@st.composite
def mentions(draw: st.DrawFn, count: int) -> list[tuple[int, int, str]]:
    """Mentions in some tokens, many of them touching."""
    cuts = sorted(draw(st.sets(st.integers(0, count), max_size=count + 1)))
    pairs = list(pairwise(cuts))
    return [(start, end, draw(LABELS)) for start, end in pairs if draw(st.booleans())]


@given(st.data(), st.sampled_from(list(SCHEMES)), st.integers(0, 12))
def test_tags_of_mentions_mean_these_mentions(data: st.DataObject, name: str, count: int) -> None:
    given_mentions = data.draw(mentions(count))
    tags = tags_of(count, given_mentions, SCHEMES[name])
    assert spans(map(split_tag, tags), SCHEMES[name]) == (given_mentions, [])


@given(st.data(), st.integers(1, 12))
def test_tags_are_those_of_seqeval(data: st.DataObject, count: int) -> None:
    given_mentions = data.draw(mentions(count))
    for name, scheme in (("bio", IOB2), ("iob1", IOB1), ("bioes", IOBES)):
        tags = tags_of(count, given_mentions, SCHEMES[name])
        strict = [(e.start, e.end, e.tag) for e in Entities([tags], scheme).entities[0]]
        assert strict == given_mentions
        if name != "iob1":
            assert [(start, last + 1, label) for label, start, last in get_entities(tags)] == given_mentions


@given(st.lists(st.tuples(st.sampled_from("BIO"), st.sampled_from("xy")), max_size=12))
def test_any_bio_is_read_as_conlleval_reads_it(pairs: list[tuple[str, str]]) -> None:
    tags = ["O" if letter == "O" else f"{letter}-{label}" for letter, label in pairs]
    found, repairs = spans(map(split_tag, tags), SCHEMES["bio"])
    assert found == [(start, last + 1, label) for label, start, last in get_entities(tags)]
    starts = sum(tag.startswith("B-") for tag in tags)
    assert len(repairs) == len(found) - starts


@given(st.lists(st.tuples(st.sampled_from("BMESO"), st.sampled_from("xy")), max_size=12))
def test_any_bmes_is_read_in_its_one_sense_or_refused(pairs: list[tuple[str, str]]) -> None:
    """Whatever is kept covers exactly the tagged characters, and is what was written but for the counted marks."""
    tags = ["O" if letter == "O" else f"{letter}-{label}" for letter, label in pairs]
    try:
        found, repairs = spans(map(split_tag, tags), SCHEMES["bmes"])
    except Unclear as error:
        at, _, message = error.args
        assert tags[at] in message and tags[at - 1] in message
        return
    labels = [""] * len(tags)
    for start, end, label in found:
        labels[start:end] = [label] * (end - start)
    assert labels == [tag[2:] for tag in tags]
    written = tags_of(len(tags), found, SCHEMES["bmes"])
    changed = sum(one != other for one, other in zip(tags, written, strict=True))
    assert changed <= len(repairs) and bool(changed) == bool(repairs)


def test_long_rows_take_linear_time() -> None:
    tags = [("B", "x"), ("M", "x")] * 100_000
    with pytest.raises(Unclear):
        spans(tags, SCHEMES["bmes"])
    assert len(spans([("S", "x")] * 200_000, SCHEMES["bmes"])[0]) == 200_000


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("O", ("O", "")), ("o", ("O", "")), ("B-PER", ("B", "PER")), ("b-per", ("B", "per")), ("B_PER", ("B", "PER")),
        ("PER-B", ("B", "PER")), ("person_name_I", ("I", "person_name")), ("B-person_I", ("B", "person_I")), ("E-B", ("E", "B")),
        ("PER-b", ("", "")), ("PER", ("", "")), ("B-", ("", "")), ("-B", ("", "")), ("B", ("", "")), ("X-PER", ("", "")), ("0", ("", "")),
        ("BPER", ("", "")), ("", ("", "")), ("B-a b", ("", "")),
    ],
)  # fmt: skip
def test_notations_of_tags(tag: str, expected: tuple[str, str]) -> None:
    assert split_tag(tag) == expected


@by_name
def test_other_notations_mean_the_same(format: ModuleType, tmp_path: Path) -> None:
    tags = tags_of(7, [(0, 1, "x"), (1, 4, "x"), (5, 7, "yz")], format.Reader.scheme)
    read_as = []
    for change in (
        str,
        lambda t: t.replace("-", "_"),
        lambda t: t[:2].lower() + t[2:],
        lambda t: "-".join(t.split("-")[::-1]),
    ):
        rows = [f"{character} {change(tag)}\n" for character, tag in zip("甲乙丙丁戊己庚", tags, strict=True)]
        (tmp_path / "a.txt").write_text("".join(rows), "utf-8")
        (sample,) = read(format, tmp_path / "a.txt", gold=True)
        assert sample.repairs == ()
        read_as.append(sample.entities)
    assert read_as[0] and read_as == [read_as[0]] * 4


WEIBO = {
    "Weibo": "科0 {b}-PER.NAM\n技1 {i}-PER.NAM\n公2 {e}-PER.NAM\n司3 O\n，0 O\n10 O\n01 O\n@0 O\n😀\ufe0f0 O\n",
    "tabs": "科0\t{b}-PER.NAM\n技1\t{i}-PER.NAM\n公2\t{e}-PER.NAM\n司3\tO\n，0\tO\n10\tO\n01\tO\n@0\tO\n😀\ufe0f0\tO\n",
    "from 1": "科1 {b}-PER.NAM\n技2 {i}-PER.NAM\n公3 {e}-PER.NAM\n司4 O\n，1 O\n11 O\n02 O\n@1 O\n😀\ufe0f1 O\n",
    "longer words only": "科0 {b}-PER.NAM\n技1 {i}-PER.NAM\n公2 {e}-PER.NAM\n司3 O\n， O\n10 O\n01 O\n@ O\n😀\ufe0f0 O\n",
    "letters": "科B {b}-PER.NAM\n技M {i}-PER.NAM\n公M {e}-PER.NAM\n司E O\n，S O\n1B O\n0E O\n@S O\n😀\ufe0fS O\n",
}


@by_name
@pytest.mark.parametrize("name", WEIBO)
def test_marks_of_a_word_segmentation_are_dropped_or_refused(format: ModuleType, name: str, tmp_path: Path) -> None:
    scheme = format.Reader.scheme
    text = WEIBO[name].format(b="B", i=scheme.inside, e=scheme.end or scheme.inside)
    (tmp_path / "a.txt").write_text(text, "utf-8")
    (sample,) = read(format, tmp_path / "a.txt", gold=True, segmentation=True)
    assert sample.problem is None
    assert sample.text == "科技公司，10@😀\ufe0f"
    assert sample.entities == (Entity(0, 3, "PER.NAM", "科技公"),)
    with pytest.raises(UserError, match=r"a\.txt:1: .*'科.*; remove .* with `options: \{segmentation: true\}`"):
        read(format, tmp_path / "a.txt", gold=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("技7 O\n", "line 3 has no position in a word, or one that cannot follow '1': '技7 O'"),
        ("技3 O\n", "line 3 has no position in a word, or one that cannot follow '1': '技3 O'"),
        ("CT O\n", "line 3 has no position in a word, or one that cannot follow '1': 'CT O'"),
        ("技M O\n", "line 3 has no position in a word, or one that cannot follow '1': '技M O'"),
        ("技9999 O\n", "line 3 has no position in a word, or one that cannot follow '1': '技9999 O'"),
        ("技 0 O\n", "line 3 has more than a character and a tag: '技 0 O'; write `char SPACE tag`"),
    ],
)
def test_a_mark_that_is_none_is_a_bad_record(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("科0 O\n学1 O\n" + rows, "utf-8")
    (sample,) = read(bio, tmp_path / "a.txt", gold=True, segmentation=True)
    assert sample.problem and sample.problem[1] == message


def test_lines_too_long_for_rows_end_in_one_line_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{c}0 {'x' * 300} O\n" for c in "科技公司的"), "utf-8")
    with pytest.raises(UserError, match=r"a\.txt:1: the tokens carry their positions in words"):
        read(bio, tmp_path / "a.txt", gold=True)


def test_a_file_without_marks_is_not_read_as_one_with_marks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲 O\n10 O\n维C O\n乙 B-x\n2020 O\n年 O\n做 O\n", "utf-8")
    with pytest.raises(UserError, match=r"carry no marks of a word segmentation, but `segmentation` is true; remove"):
        read(bio, tmp_path / "a.txt", gold=True, segmentation=True)


@by_name
@pytest.mark.parametrize("written", FORMATS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_schemes_are_not_mistaken_for_each_other(format: ModuleType, written: ModuleType, tmp_path: Path) -> None:
    tags = tags_of(9, [(0, 1, "x"), (1, 4, "x"), (5, 7, "y"), (7, 9, "y")], written.Reader.scheme)
    (tmp_path / "a.txt").write_text(
        "".join(f"{c} {tag}\n" for c, tag in zip("甲乙丙丁戊己庚辛壬", tags, strict=True)), "utf-8"
    )
    try:
        problems = [sample.problem for sample in read(format, tmp_path / "a.txt", gold=True)]
    except UserError:
        problems = ["the file"]
    assert problems == [None] if format is written else all(problems)


TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("甲乙 \t\u3000O-BI0葛\U000e0100é\u0301😀\ufe0f")
    ),
    max_size=9,
)


@by_name
@given(data=st.data())
def test_what_is_written_is_read_back(format: ModuleType, data: st.DataObject) -> None:
    reader = format.Reader()
    records = []
    for number, text in enumerate(data.draw(st.lists(TEXT, min_size=1, max_size=3))):
        found = tuple(
            Entity(start, end, label, text[start:end]) for start, end, label in data.draw(mentions(len(text)))
        )
        records.append(Record(f"{number}", text, found))
    records = [record for record in records if not reader.refusal(record)]
    with TemporaryDirectory() as folder:
        paths = written(format, records, Path(folder))
        assert [path.name for path in paths] == ["a.txt"]
        assume(records)
        samples = read(format, paths[0], gold=True)
    assert [(sample.text, sample.entities, sample.repairs) for sample in samples] == [
        (r.text, r.entities, ()) for r in records
    ]


def record(text: str, *spans: tuple[int, int, str]) -> Record:
    return Record("a", text, tuple(Entity(start, end, label, text[start:end]) for start, end, label in spans))


@by_name
@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("甲\n乙", "x", "line break"),
        ("甲\r", "x", "line break"),
        ("甲\0", "x", "control character"),
        ("\ufeff甲", "x", "control character"),
        ("", "x", "no text"),
        ("甲", "a b", "label with a space"),
        ("甲", "a\u3000b", "label with a space"),
    ],
)
def test_what_it_cannot_hold_is_refused(format: ModuleType, text: str, label: str, reason: str) -> None:
    refused = format.Reader().refusal(record(text, *[(0, 1, label)] * bool(text)))
    assert refused and refused[0] == reason


@by_name
def test_combining_characters_and_surrogate_pairs_are_characters(format: ModuleType, tmp_path: Path) -> None:
    text = "葛\U000e0100飾😀e\u0301👩\u200d🔬"
    kept = record(text, (0, 2, "x"), (3, 4, "y"), (5, 6, "z"), (6, 9, "w"))
    (sample,) = read(format, *written(format, [kept], tmp_path), gold=True)
    assert (sample.text, sample.entities) == (text, kept.entities)


def test_a_sentence_of_many_lines_takes_linear_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲 B-x\n" * 60_000, "utf-8")
    (sample,) = read(bio, tmp_path / "a.txt", gold=True)
    assert len(sample.entities or ()) == 60_000
