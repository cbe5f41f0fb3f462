"""CoNLL: words in columns, how they become a text, and what is refused."""

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ner_common.errors import UserError
from ner_data.detect import detect
from ner_data.formats import conll
from ner_data.formats._schemes import SCHEMES
from ner_data.formats._tagged import LONG, MARKER
from ner_data.formats._words import SPACES
from ner_data.gold import Entity, Record
from ner_data.source import Source
from raw_files import read, written

GOOD = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\ncall NN I-NP O\n\n"
    "# id 1 domain=news\n林晓\tNR\t_\tB-人\n在\tP\t_\tO\nIBM\tNR\t_\tB-公司\nChina\tNR\t_\tI-公司\n工作\tVV\t_\tO\n\n"
    "# sent_id = 2\n# text = 12 年, OK?\n12\tCD\t_\tO\n年\tM\t_\tO\n,\tPU\t_\tO\nOK\tNN\t_\tB-人\n?\tPU\t_\tO\n"
).encode()

MALFORMED = [
    ("one column", b"EU\nrejects\nGerman\n"),
    ("a row without its tag", b"EU NNP B-ORG\nrejects VBZ\nGerman JJ O\n"),
    ("a row with one column more", b"EU NNP B-ORG\nrejects VBZ B-VP O\n"),
    ("the tag is not in the last column", b"EU B-ORG NNP\nrejects O VBZ\n"),
    ("tags of BMES", "林晓 NR B-人\n晓林 NR M-人\n晓晓 NR E-人\n".encode()),
    ("brackets of CoNLL-2012", b"The DT (ORG*\nUnion NN *)\n"),
    ("a tab at the end", b"EU\tNNP\tB-ORG\t\nrejects\tVBZ\tO\t\n"),
    ("white space around a word", b"EU \tB-ORG\nrejects \tO\n"),
    ("words that are not the text of the comment", b"# text = EU accepts\nEU B-ORG\nrejects O\n"),
    ("a text that goes on after the words", b"# text = EU rejects it\nEU B-ORG\nrejects O\n"),
    ("a comment after the first word", b"EU B-ORG\n# a comment\nrejects O\n"),
    ("a byte-order mark inside the file", b"EU B-ORG\n\xef\xbb\xbfrejects O\n"),
    ("positions in words", "科0 O\n技1 O\n公2 B-x\n".encode()),
    ("Latin-1", "Curaçao B-LOC\nis O\n".encode("latin-1")),
]


def sample_of(path: Path, text: str, **options: object) -> conll.Sample:
    path.write_text(text, "utf-8")
    (sample,) = read(conll, path, gold=True, **options)
    return sample


def test_words_become_a_text_and_comments_and_markers_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_bytes(GOOD)
    first, second, third = read(conll, tmp_path / "a.conll", gold=True)
    assert (first.line, first.text) == (3, "EU rejects German call")
    assert first.entities == (Entity(0, 2, "ORG", "EU"), Entity(11, 17, "MISC", "German"))
    assert first.repairs == (MARKER,)
    assert (second.line, second.text) == (9, "林晓在IBM China工作")
    assert second.entities == (Entity(0, 2, "人", "林晓"), Entity(3, 12, "公司", "IBM China"))
    assert second.repairs == (conll.COMMENT,)
    assert (third.text, third.entities) == ("12 年, OK?", (Entity(6, 8, "人", "OK"),))
    assert third.repairs == (conll.COMMENT,)


@pytest.mark.parametrize(
    ("join", "text"),
    [
        ("auto", "在IBM China的１월 말 ,カナOK"),
        (" ", "在 IBM China 的 １ 월 말 , カナ OK"),
        ("", "在IBMChina的１월말,カナOK"),
    ],
)
def test_what_is_put_between_words(tmp_path: Path, join: str, text: str) -> None:
    rows = "".join(f"{word}\tO\n" for word in ["在", "IBM", "China", "的", "１", "월", "말", ",", "カナ", "OK"])
    assert sample_of(tmp_path / "a.conll", rows, join=join).text == text


def test_a_text_without_words_is_counted_as_a_comment(tmp_path: Path) -> None:
    sample = sample_of(
        tmp_path / "a.conll", "# text = EU\n\n# text = old\n# text = rejects  it\nrejects B-x\nit I-x\n"
    )
    assert (sample.line, sample.text, sample.repairs) == (5, "rejects  it", (conll.COMMENT,) * 2)
    assert sample.entities == (Entity(0, 11, "x", "rejects  it"),)


def test_a_file_of_comments_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_bytes(b"# one\n\n# two\n")
    assert read(conll, tmp_path / "a.conll", gold=True) == []


def test_columns_are_numbered_from_1(tmp_path: Path) -> None:
    """GermEval 2014 has a number, the word, and two columns of tags; its comments have tabs."""
    text = "#\tn-tv.de [2005]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tO\n3\tBerlin\tB-LOC\tB-ORG\n"
    sample = sample_of(tmp_path / "a.tsv", text, words=2, column=3)
    assert sample.text == "Schartau sagte Berlin"
    assert sample.entities == (Entity(0, 8, "PER", "Schartau"), Entity(15, 21, "LOC", "Berlin"))
    sample = sample_of(tmp_path / "a.tsv", text, words=2)
    assert sample.entities == (Entity(15, 21, "ORG", "Berlin"),)


def test_iob1_has_b_only_between_mentions_that_touch(tmp_path: Path) -> None:
    text = "EU NNP I-ORG\nGerman JJ I-MISC\nBritish JJ B-MISC\ncall NN I-MISC\n"
    sample = sample_of(tmp_path / "a.conll", text, scheme="iob1")
    assert [(e.label, e.text) for e in sample.entities or ()] == [
        ("ORG", "EU"),
        ("MISC", "German"),
        ("MISC", "British call"),
    ]
    assert sample.repairs == ()
    as_bio = sample_of(tmp_path / "a.conll", text)
    assert as_bio.entities == sample.entities
    assert as_bio.repairs == ("I- without B- (starts a mention)",) * 2
    assert sample_of(tmp_path / "a.conll", "EU B-ORG\nrejects O\n", scheme="iob1").repairs == (
        "B- where nothing touches (starts a mention, as I- does in IOB1)",
    )


def test_a_number_sign_can_be_a_word(tmp_path: Path) -> None:
    sample = sample_of(tmp_path / "a.conll", "# a comment\n# O\n1 B-x\nhit O\nsong O\n# O\n")
    assert (sample.text, sample.repairs) == ("# 1 hit song #", (conll.COMMENT,))


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("a row without its tag", "columns", "line 2 has 2 columns, but the sentence starts with 3: 'rejects VBZ'"),
        ("one column", "no tag", "line 1 has 1 columns, not 2 or more: 'EU'"),
        (
            "tags of BMES",
            "unknown tag scheme",
            "line 2 has the tag 'M-人': M- belongs to BMES or BMEWO; BIO has only B-label, I-label and O; see the options "
            "column and scheme",
        ),
        (
            "white space around a word",
            "space around a word",
            "line 1 has white space around the word 'EU '; remove it",
        ),
        (
            "words that are not the text of the comment",
            conll.OTHER,
            "line 3 has 'rejects' where the text of the comment has 'accepts'",
        ),
        (
            "a text that goes on after the words",
            conll.OTHER,
            "line 3 is the last word, but the text of the comment goes on: 'it'",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, reason: str, message: str) -> None:
    (tmp_path / "a.conll").write_bytes(dict(MALFORMED)[name])
    (sample,) = read(conll, tmp_path / "a.conll", gold=True)
    assert sample.problem == (reason, message)


TEXT_OF_CHARACTERS = "2014年" + "甲乙丙丁戊己庚辛壬癸" * 4 + "CT"
CHARACTERS = "看 NN O\ngame NN B-x\nof NN I-x\nthrones NN I-x\n" + "".join(
    f"{token} NN O\n" for token in [*TEXT_OF_CHARACTERS[:-2], "CT"]
)


def test_a_file_of_single_characters_has_spaces_between_latin_words_only(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CHARACTERS, "utf-8")
    (sample,) = read(conll, tmp_path / "a.conll", gold=True)
    assert sample.text == f"看game of thrones {TEXT_OF_CHARACTERS}"
    assert [entity.text for entity in sample.entities or ()] == ["game of thrones"]
    assert sorted(sample.repairs) == [SPACES] * 3 + [LONG]
    best, _ = detect(Source(tmp_path / "a.conll"))
    assert (best.format, best.options) == ("conll", {})


def test_a_comment_with_a_tab_is_no_row_of_the_survey(tmp_path: Path) -> None:
    """Two columns in the comments of MultiCoNER, four in its rows."""
    rows = "".join(f"# id {n}\tdomain=zh\n甲 _ _ B-x\n1 _ _ O\n2 _ _ O\n\n" for n in range(9))
    (tmp_path / "a.conll").write_text(rows, "utf-8")
    assert {sample.text for sample in read(conll, tmp_path / "a.conll", gold=True)} == {"甲12"}


def test_words_that_are_joined_without_spaces_are_counted(tmp_path: Path) -> None:
    sample = sample_of(tmp_path / "a.conll", "做 VV O\nCT NN B-x\n", join="")
    assert (sample.text, sample.repairs) == ("做CT", (LONG,))


@pytest.mark.parametrize(
    ("options", "part"),
    [({"scheme": "io"}, "scheme must be one of bio, iob1"), ({"join": "-"}, "join must be"), ({"column": 1}, "two columns"), ({"column": -1}, "two columns")],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, object], part: str) -> None:
    with pytest.raises(UserError, match=part):
        conll.Reader(**options)


TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("甲乙 \t\u3000O-#=BI01葛\U000e0100é\u0301😀\ufe0f")
    ),
    max_size=12,
)


@given(
    st.lists(st.tuples(TEXT, st.sets(st.integers(0, 12), max_size=6)), min_size=1, max_size=3),
    st.sampled_from(list(SCHEMES)),
    st.sampled_from([(1, 0), (1, 4), (3, 2)]),
)
def test_what_is_written_is_read_back(
    texts: list[tuple[str, set[int]]], scheme: str, columns: tuple[int, int]
) -> None:
    options = {"scheme": scheme, "words": columns[0], "column": columns[1]}
    reader = conll.Reader(**options)
    records = []
    for text, cuts in texts:
        places = sorted(cut for cut in cuts if cut <= len(text))
        found = [Entity(start, end, "xy"[end % 2], text[start:end]) for start, end in pairwise(places) if end % 3]
        records.append(Record("a", text, tuple(found)))
    records = [record for record in records if not reader.refusal(record)]
    assume(records)
    with TemporaryDirectory() as folder:
        (path,) = written(conll, records, Path(folder), **options)
        samples = read(conll, path, gold=True, **options)
    assert [(sample.text, sample.entities, sample.repairs) for sample in samples] == [
        (r.text, r.entities, ()) for r in records
    ]


def test_what_it_cannot_hold_is_refused() -> None:
    for text, spans, reason in [
        ("甲\n乙", [], "line break"),
        (" \t", [], "no text"),
        ("a b", [(0, 2)], "space in a mention"),
        ("甲\u3000", [(1, 2)], "space in a mention"),
    ]:
        entities = tuple(Entity(start, end, "x", text[start:end]) for start, end in spans)
        refused = conll.Reader().refusal(Record("a", text, entities))
        assert refused and refused[0] == reason


def test_words_are_written_as_words(tmp_path: Path) -> None:
    record = Record("a", "在EU-US峰会, OK", (Entity(1, 3, "x", "EU"), Entity(10, 12, "y", "OK")))
    (path,) = written(conll, [record], tmp_path)
    assert path.read_text("utf-8") == (
        "# text = 在EU-US峰会, OK\n在\tO\nEU\tB-x\n-\tO\nUS\tO\n峰\tO\n会\tO\n,\tO\nOK\tB-y\n\n"
    )
