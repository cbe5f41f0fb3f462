"""Sentences in one file and their tags in another."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data.formats import Sample, parallel
from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import LONG
from ner_data.gold import Entity, Record
from ner_data.source import Source
from raw_files import written

SENTENCES = "林 晓 在 京 \n\n林晓在京\n1993 年 CT\n".encode()
TAGS = b"B-name I-name O B-place\n\nB_name I_name O B_place\nO O B-x\n"
GOOD = {"a.txt": SENTENCES, "a.tags": TAGS}
# What is wrong, and the two files.
PAIRS = [
    ("a tag too few", "林 晓 在\n".encode(), b"B-x I-x\n"),
    ("a tag too many", "林 晓 在\n".encode(), b"B-x I-x O O\n"),
    ("a tag too few for characters without spaces", "林晓在\n".encode(), b"B-x I-x\n"),
    ("a sentence without tags", "林 晓\n在 京\n".encode(), b"B-x I-x\n\n"),
    ("tags without a sentence", "林 晓\n\n".encode(), b"B-x I-x\nO O\n"),
    ("more sentences than lines of tags", "林 晓\n在 京\n".encode(), b"B-x I-x\n"),
    ("more lines of tags than sentences", "林 晓\n".encode(), b"B-x I-x\nO O\n"),
    ("tags of BMES", "林 晓 明\n".encode(), b"B-x M-x E-x\n"),
    ("a tag without a label", "林 晓\n".encode(), b"B- O\n"),
    ("Latin words", b"EU rejects it\n", b"B-x O O\n"),
    ("a byte-order mark inside the file", "林 晓\n\ufeff在 京\n".encode(), b"B-x I-x\nO O\n"),
    ("positions in words", "科0 技1\n".encode(), b"O O\n"),
    ("GBK", "林 晓\n".encode("gbk"), b"B-x I-x\n"),
    ("the files exchanged", b"B-x I-x\n", "林 晓\n".encode()),
    ("no tags at all", "林 晓\n".encode(), b""),
    ("no sentences at all", b"", b"B-x I-x\n"),
]
MALFORMED = [(name, {"a.txt": sentences, "a.tags": tags}) for name, sentences, tags in PAIRS]


def read(folder: Path, files: dict[str, bytes], gold: bool = True, **options: object) -> list[Sample]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    source = Source(folder / "a.txt", tags=folder / "a.tags" if "a.tags" in files else None)
    return list(parallel.Reader(**options).read(source, gold))


def test_characters_stand_between_spaces_or_not(tmp_path: Path) -> None:
    first, second, third = read(tmp_path, GOOD)
    entities = (Entity(0, 2, "name", "林晓"), Entity(3, 4, "place", "京"))
    assert (first.line, first.text, first.entities) == (1, "林晓在京", entities)
    assert (second.line, second.text, second.entities) == (3, "林晓在京", entities)
    assert (third.text, third.entities) == ("1993年CT", (Entity(5, 7, "x", "CT"),))
    assert (first.repairs, third.repairs) == ((), (LONG,) * 2)


def test_without_gold_the_tags_still_tell_what_the_spaces_are(tmp_path: Path) -> None:
    assert [sample.text for sample in read(tmp_path, GOOD, gold=False)] == ["林晓在京", "林晓在京", "1993年CT"]


def test_a_split_without_gold_needs_no_tags(tmp_path: Path) -> None:
    files = {"a.txt": "林 晓 在 京 \n林晓在京\n京\n1993 年 CT\n".encode()}
    *good, bad = read(tmp_path, files, gold=False)
    assert [(sample.text, sample.entities) for sample in good] == [
        ("林晓在京", None),
        ("林晓在京", None),
        ("京", None),
    ]
    assert bad.problem and bad.problem[0] == "spaces"
    samples = read(tmp_path, files)
    assert {sample.problem for sample in samples} == {
        ("no tags", "the split has no file of tags; name it with `tags:` in the description of the corpus")
    }


@pytest.mark.parametrize("name", SCHEMES)
def test_any_scheme(name: str, tmp_path: Path) -> None:
    tags = {
        "bio": "B-x I-x B-x O",
        "iob1": "I-x I-x B-x O",
        "bioes": "B-x E-x S-x O",
        "bmes": "B-x E-x S-x O",
        "bmewo": "B-x E-x W-x O",
    }[name]
    files = {"a.txt": "甲 乙 丙 丁\n".encode(), "a.tags": f"{tags}\n".encode()}
    (sample,) = read(tmp_path, files, scheme=name)
    assert [(e.label, e.text) for e in sample.entities or ()] == [("x", "甲乙"), ("x", "丙")]
    assert sample.repairs == ()


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("a tag too few", "number of tags", "has 2 tags for 3 parts between spaces, or 5 characters: '林 晓 在'"),
        (
            "a tag too few for characters without spaces",
            "number of tags",
            "has 2 tags for 1 parts between spaces, or 3 characters: '林晓在'",
        ),
        (
            "a sentence without tags",
            "number of tags",
            "has 0 tags for 2 parts between spaces, or 3 characters: '在 京'",
        ),
        ("tags without a sentence", "number of tags", "has 2 tags for 0 parts between spaces, or 0 characters: ''"),
        (
            "tags of BMES",
            "unknown tag scheme",
            "has the tag 'M-x': M- belongs to BMES or BMEWO; BIO has only B-label, I-label and O; see the option scheme",
        ),
        (
            "Latin words",
            "words",
            "has 'rejects' after 'EU': with a space between them, or without? write each character by itself, a space too",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, reason: str, message: str) -> None:
    (sample,) = (sample for sample in read(tmp_path, dict(MALFORMED)[name]) if sample.problem)
    assert sample.problem == (reason, message)


def test_tags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    files = {"a.txt": "甲 乙 丙\n".encode(), "a.tags": b"B-x E-x E-x\n"}
    (sample,) = read(tmp_path, files, scheme="bmes")
    assert sample.problem and sample.problem[0] == "broken mention"
    assert sample.problem[1].startswith("tag 3 of 3 has 'E-x' after 'E-x'")
    assert sample.labels == {"x"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("more sentences than lines of tags", r"a\.txt:2: a sentence without tags: .*a\.tags has 1 lines"),
        ("more lines of tags than sentences", r"a\.tags:2: tags without a sentence: .*a\.txt has 1 lines"),
        ("no tags at all", r"a\.tags: the file is empty"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, dict(MALFORMED)[name])


def test_bio_instead_of_bmes_is_refused_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.tags:1: 5 mentions start, but only 0 end with E- or S-; is this BIO"):
        read(tmp_path, GOOD, scheme="bmes")


def test_a_scheme_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="options: scheme must be one of bio, iob1, bioes, bmes, bmewo, not 'io'"):
        parallel.Reader(scheme="io")


TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("甲乙 \t\u3000O-葛\U000e0100é\u0301😀\ufe0f")),
    max_size=9,
)


@given(
    st.lists(st.tuples(TEXT, st.sets(st.integers(0, 9), max_size=6)), min_size=1, max_size=3),
    st.sampled_from(list(SCHEMES)),
)
def test_what_is_written_is_read_back(texts: list[tuple[str, set[int]]], scheme: str) -> None:
    records = []
    for text, cuts in texts:
        places = sorted(cut for cut in cuts if cut <= len(text))
        found = [Entity(start, end, "xy"[end % 2], text[start:end]) for start, end in pairwise(places) if end % 3]
        records.append(Record("a", text, tuple(found)))
    reader = parallel.Reader(scheme=scheme)
    records = [record for record in records if not reader.refusal(record)]
    assume(records)
    with TemporaryDirectory() as folder:
        tags, sentences = written(parallel, records, Path(folder), scheme=scheme)
        samples = list(reader.read(Source(sentences, tags=tags)))
    assert [(sample.text, sample.entities, sample.repairs) for sample in samples] == [
        (r.text, r.entities, ()) for r in records
    ]
