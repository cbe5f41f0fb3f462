"""What every corpus format promises: its examples read, what it writes reads the same, and no input breaks it."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from format_cases import PAGE, READMES, Files, cases, outcome, page, put, source_of, written
from ner_common.files import write_together
from ner_data.described import Corpus, Label, Split
from ner_data.detect import detect
from ner_data.formats import can_write, format_class, format_names, load_format
from ner_data.gold import Entity, Record
from ner_data.nesting import flatten
from ner_data.source import Source

NAMES = format_names()
WRITERS = [name for name in NAMES if can_write(format_class(name))]
LABELS = ("name", "org", "临床表现")
CORPUS = Corpus("x", "", "", "", "gold", {"train": Split("a")}, tuple(Label(label, label) for label in LABELS))
# Han characters of both planes, Latin, digits, combining marks, full-width forms, spaces, quotes, brackets, line ends.
ALPHABET = "甲乙丙丁𠀀😀é\u0301ＡｂB9０ \u3000，。\"'\\{}[]<>|#-/:;\t\n\u2028\u200b\ufeff"


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        text = draw(st.text(ALPHABET, min_size=1, max_size=24).filter(str.strip))
        spans = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 6), st.sampled_from(LABELS))
        places = {
            (start, min(start + size, len(text)), label) for start, size, label in draw(st.lists(spans, max_size=4))
        }
        entities = tuple(Entity(start, end, label, text[start:end]) for start, end, label in sorted(places))
        found.append(Record(f"x-{number}", text, entities))
    return found


@pytest.mark.parametrize("name", WRITERS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=records())
def test_what_is_written_is_read_as_the_same_gold(name: str, found: list[Record]) -> None:
    format = load_format(name)
    able = []
    for record in found:
        kept = flatten(record.gold, "keep" if format.nested else "outermost")
        candidate = Record(record.id, record.text, kept)
        if format.refusal(candidate) is None:
            able.append(candidate)
    if not able:
        return
    with tempfile.TemporaryDirectory() as folder:
        with write_together() as write:
            format.write(iter(able), Path(folder) / "train", CORPUS, write)
        samples = list(load_format(name).read(source_of(Path(folder))))
    assert [sample.problem for sample in samples] == [None] * len(able)
    assert [sample.text for sample in samples] == [record.text for record in able]
    assert [tuple(sorted(s.entities or ())) for s in samples] == [tuple(sorted(r.gold)) for r in able]


@pytest.mark.parametrize("name", WRITERS)
def test_most_records_can_be_held(name: str) -> None:
    """A format that refuses everything would pass the round trip."""
    format = load_format(name)
    plain = Record("a", "林晓在云帆科技任经理", (Entity(0, 2, "name", "林晓"), Entity(2, 3, "org", "在")))
    assert format.refusal(plain) is None


@pytest.mark.parametrize("name", NAMES)
def test_the_good_example_is_read_and_recognised(name: str, tmp_path: Path) -> None:
    source = put(tmp_path, cases(name).GOOD)
    found = outcome(name, source)
    assert isinstance(found, list) and found and all(sample.problem is None for sample in found), found
    assert any(sample.entities for sample in found)
    best, _ = detect(source)
    assert best.format == name, best.words


@pytest.mark.parametrize("name", NAMES)
def test_malformed_input_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    malformed = cases(name).MALFORMED
    assert len(malformed) >= 8
    for number, (what, files) in enumerate(malformed):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = outcome(name, put(folder, files))
        lines = [found] if isinstance(found, str) else [s.problem[1] for s in found if s.problem]
        assert lines, what
        assert all("\n" not in line and len(line) < 700 for line in lines), (what, lines)


JUNK = [
    b"\r", b"\n", b"\t", b" ", b"\x00", b"\x1b[2J", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xa8", b"\\ud800", b'"', b"\\", b"{", b"[", b"]", b"}", b",",
    b":", b"null", b"true", b"-1", b"0.5", b"1e400", b"NaN", b"9" * 5000, b"[" * 200, b'{"a":' * 200, b"O", b"B-", b"I-name", b"S-x", b"-DOCSTART-",
    b"{{", b"}}", b"T1\t", b"text,entities", b"\xb0\xa1\xb0\xa2",
]  # fmt: skip


def damaged(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        until = at + chance.choice([0, 0, 1, 2, 9, 40])
        data = (
            data[:at]
            + chance.choice([b"", data[at:until] * 2, bytes([chance.randrange(256)]), chance.choice(JUNK)])
            + data[until:]
        )
    return data


def mutated(files: Files, chance: random.Random) -> Files:
    if isinstance(files, bytes):
        return damaged(files, chance)
    name = chance.choice(sorted(files))
    return {**files, name: damaged(files[name], chance)}


def check(name: str, source: Source) -> bool:
    """Read whatever there is; True if it was read at all."""
    for gold in (True, False):
        found = outcome(name, source, gold)
        if isinstance(found, str):
            assert found and "\n" not in found and len(found) < 900, found
            return False
        for sample in found:
            if sample.problem:
                assert all(part and part.isprintable() for part in sample.problem), sample
                continue
            assert gold or sample.entities is None
            for entity in sample.entities or ():
                assert 0 <= entity.start < entity.end and sample.text[entity.start : entity.end] == entity.text
                assert entity.label
    return True


@pytest.mark.parametrize("times", [pytest.param(1, id="quick"), pytest.param(30, id="long", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_or_refused_in_lines(name: str, times: int) -> None:
    chance, module = random.Random(name), cases(name)
    examples = [module.GOOD, *(files for _, files in module.MALFORMED)]
    for _ in range(100 * times):
        with tempfile.TemporaryDirectory() as folder:
            check(name, put(Path(folder), mutated(chance.choice(examples), chance)))


@pytest.mark.parametrize("times", [pytest.param(1, id="quick"), pytest.param(30, id="long", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_other_formats_and_noise_are_read_or_refused_in_lines(name: str, times: int) -> None:
    chance = random.Random(f"other {name}")
    others = [cases(other).GOOD for other in NAMES if other != name]
    noise: list[Files] = [
        bytes(chance.randrange(256) for _ in range(chance.randint(1, 300))) for _ in range(20 * times)
    ]
    for files in [*others, *noise]:
        with tempfile.TemporaryDirectory() as folder:
            check(name, put(Path(folder), files))


def test_the_documents_about_formats_are_up_to_date() -> None:
    remedy = "run .venv/bin/python tests/format_cases.py"
    assert PAGE.read_text("utf-8") == "\n".join(page()) + "\n", remedy
    for readme in READMES:
        assert readme.read_text("utf-8") == written(readme), remedy
