"""Whatever a model answers, reading it takes linear time: random answers in addition to the fixed list in
test_answers.py, and the whole way from answer to entities."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ner_data.prompt import PromptSpec
from ner_eval.inference.recognized import read_answer

SPEC = PromptSpec("demo", "", "", ("name", "company"), "json_list", 64)
PARTS = [
    # N becomes a different number each time, so that all mentions differ.
    *"[]{}N:,\"'\\ \n.甲", "\x00", "\ud800", "label", "text", '"label"', '"text"', "'text':", '"name"', '"林晓"', '""',
    '{"text":"', '","label":"', '{"text":"林晓","label":"name"}', "{'label' : 'name' , 'text':'在'}", '{"text":"N","label":"name"},', '{"text":"N","label":"name"', '"}', "<|", "<im>",
    "\\u", "\\ud83d", '\\"', "1e9", "-", "null", "```", "\u2028",
]  # fmt: skip
pieces = st.lists(st.sampled_from(PARTS) | st.text(max_size=2), max_size=6).map("".join)


def seconds(answer: str, text: str) -> float:
    start = time.process_time()
    read_answer(SPEC, text, answer, "stop")
    return time.process_time() - start


def too_long(make: Callable[[int], str], text: str) -> bool:
    small, large = make(4_000), make(40_000)
    # Slow means slow three times: the garbage collector or a busy machine can slow one run down.
    return all(seconds(large, text) > 40 * seconds(small, text) + 0.05 for _ in range(3))


# No shrinking: searching for a shorter answer that takes too long would itself take too long.
@settings(deadline=None, max_examples=150, phases=[Phase.reuse, Phase.generate])
@given(pieces, pieces.filter(bool), pieces, st.sampled_from(["林晓在云帆科技任经理", "<im>< |甲<im>甲", "甲" * 60]))
def test_ten_times_the_answer_takes_about_ten_times_the_time(start, unit, end, text):
    """Quadratic time would take a hundred times as long."""

    def make(size: int) -> str:
        return start + "".join(unit.replace("N", str(number)) for number in range(size // len(unit))) + end

    assert not too_long(make, text)


@pytest.mark.parametrize("fence", ["", "```"])
@pytest.mark.parametrize(
    "kind", ["nowhere in the text", "all over the text", "the same place again", "labels of no set"]
)
def test_1_mb_of_mentions_is_read_in_seconds(fence, kind):
    count = 27_000
    mentions = {
        "nowhere in the text": [(str(n), "name") for n in range(count)],
        "all over the text": [("甲", "name")] * count,
        "the same place again": [("林晓", "name")] * count,
        "labels of no set": [("甲", f"label{n}") for n in range(count)],
    }[kind]
    answer = json.dumps([{"text": surface, "label": label} for surface, label in mentions], ensure_ascii=False)
    assert seconds(answer + fence, "林晓在" + "甲" * 1000) < 5
