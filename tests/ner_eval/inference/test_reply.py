import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_eval.inference.reply import MalformedReply, error_text, read_reply, retry_after

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2), ("0.5", 0.5), ("-1", 0), ("inf", 600), ("nan", 0), ("soon", None), ("", None), (None, None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after({} if value is None else {"Retry-After": value}) == seconds


def test_retry_after_as_a_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < (retry_after({"Retry-After": then}) or 0) <= 30
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "too long", "code": 400}}', "'too long'"),
        (b'{"error": "Unauthorized"}', "'Unauthorized'"),
        (b'{"detail": "Not Found"}', "'Not Found'"),
        (b"<html>\nBad Gateway", "'<html>\\nBad Gateway'"),
        (b"", "''"),
        (b"\xff" * 300, None),
    ],
)
def test_an_error_is_one_line_of_its_body(body: bytes, words: str | None) -> None:
    assert error_text(body) == words or words is None
    assert "\n" not in error_text(body) and len(error_text(body)) <= 200


@settings(deadline=None)
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    error_text(body)
    with pytest.raises(MalformedReply):
        read_reply(body, 0.1)


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_the_server_broke_off_is_none(reason: str) -> None:
    body = {"choices": [{"message": {"content": "[]"}, "finish_reason": reason}]}
    with pytest.raises(MalformedReply, match=f"finish_reason {reason}"):
        read_reply(json.dumps(body).encode(), 0.1)
