"""Nothing that a stranger writes into JSON or YAML gets past the reader: a typed value, or one line of words."""

import json
import random
import tracemalloc
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_common.decoding import DEPTH, NotJSON, convert, decode_json, decode_yaml


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    x: Annotated[int, msgspec.Meta(ge=0)]
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"x": "1"}', "x: expected int, got str"),
        ('{"x": true}', "x: expected int, got bool"),
        ('{"x": -1}', "x: expected int >= 0"),
        ('{"x": 1, "y": 2}', "has the unknown field y"),
        ('{"names": []}', "lacks x"),
        ('{"x": 1, "names": ["a", 2]}', "names[1]: expected str, got int"),
        ("[1]", "expected object, got array"),
        ('{"x": ' + "1" * 5000 + "}", "out of range"),
        ('{"x": 1e999}', "out of range"),
    ],
)
def test_another_type_is_named_with_its_place(text, words):
    with pytest.raises(ValueError, match=r".") as error:
        decode_json(text, Point)
    assert words in str(error.value)
    assert not isinstance(error.value, NotJSON)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", 1),
        ("", 1),
        ('{"a":\n1,\n}', 3),
        ("[1] 2", 1),
        ("NaN", 1),
        (b'"\xff"', 1),
        ('"a\udc00"', 1),
        ("[" * 99999, 1),
    ],
)
def test_text_that_is_not_json_is_named_with_its_line(text, line):
    with pytest.raises(NotJSON) as error:
        decode_json(text)
    assert error.value.line == line
    assert "\n" not in str(error.value)


def test_depth_is_bounded_outside_strings_only():
    assert decode_json("[" * DEPTH + "]" * DEPTH)
    with pytest.raises(NotJSON, match=f"more than {DEPTH} levels"):
        decode_json("[" * (DEPTH + 1) + "]" * (DEPTH + 1))
    assert decode_json(json.dumps(["[{" * 500 + '"\\'])) == ["[{" * 500 + '"\\']
    assert len(decode_json("[" + "[]," * 500 + "[]]")) == 501


def test_lone_surrogates_become_one_replacement_character():
    assert decode_json(r'"a\ud83db\udc00"') == "a\ufffdb\ufffd"
    assert decode_json(r'"\ud83d\ude00 \\ud83d \\\ud83d"') == "😀 \\ud83d \\\ufffd"


@given(st.text(st.characters(codec=None)))
def test_every_string_keeps_its_length(text):
    assert len(decode_json(json.dumps(text))) == len(json.loads(json.dumps(text)))


@given(st.binary(max_size=60))
def test_bytes_are_a_value_or_a_line(data):
    for kind in (Any, Point, dict[str, Any]):
        try:
            decode_json(data, kind)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x", "line 2: an alias"),
        ("a: [", "line 1"),
        ("a: !!python/object/apply:os.system [ls]", "constructor"),
        ("[" * 3000, "nested more than"),
        ("{" * 3000, "nested more than"),
        ("a: \x00", "does not allow"),
        ("? [a]\n: 1", "unhashable"),
        ("a: " + "1" * 5000, "5000 digits|limit"),
        ("b: 1\na: 0x" + "f" * 6000, "line 2: a whole number of more than 1024 bits"),
        ("a: 1" + ":0" * 200, "a whole number of more than 1024 bits"),
        ("x" * (1 << 20) + "y", "more than"),
        ("a: 1:99999999999999999999:1.5e400", ""),
    ],
)
def test_yaml_that_cannot_be_read_is_one_line(text, words):
    try:
        decode_yaml(text)
    except ValueError as error:
        assert str(error).startswith("not YAML (")
        assert "\n" not in str(error)
        assert any(word in str(error) for word in words.split("|"))
    else:
        assert words == ""


def test_dates_stay_strings():
    assert decode_yaml("a: 2026-02-31\nb: 2026-01-01") == {"a": "2026-02-31", "b": "2026-01-01"}


def test_a_value_is_converted_or_refused():
    assert convert({"x": 1, "names": ["a"]}, Point) == Point(1, ("a",))
    with pytest.raises(ValueError, match="x: expected int, got str"):
        convert({"x": "1"}, Point)


def test_a_document_over_the_bound_is_refused_before_it_is_decoded():
    data = b"[" + b"1," * (40 << 20) + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(NotJSON, match="bytes, more than"):
            decode_json(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A document with one thing wrong: a byte, a cut, a doubled part, or a swapped value."""
    at = chance.randrange(len(data))
    until = at + chance.randrange(1, 20)
    return chance.choice(
        [
            data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :],
            data[:at],
            data[:at] + data[at:until] * 3 + data[until:],
            data[:at] + chance.choice([b"null", b'"x"', b"[", b"}", b"1e400", rb"\ud800", b"-1"]) + data[until:],
        ]
    )


def test_mutated_documents_are_a_value_or_a_line():
    chance = random.Random(0)
    document = json.dumps({"x": 3, "names": ["林晓", "\ud83d", "a" * 30]}).encode()
    refused = 0
    for _ in range(3000):
        try:
            assert isinstance(decode_json(mutated(document, chance), Point), Point)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 1000 < refused < 3000
