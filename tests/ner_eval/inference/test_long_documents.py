"""Documents in pieces with context and in several passes: every entity is where it says, and none is moved."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.documents import ended, measure, on_a_line
from faulty import Faulty, completion
from ner_common.errors import UserError
from ner_data.gold import Entity, read_gold
from ner_data.prompt import PromptSpec
from ner_eval import Recognizer
from ner_eval.inference.recognized import placed, read_answer
from ner_eval.inference.splitting import Cutting, Piece, distinct, joined
from support import Served

SPEC = PromptSpec("demo", "系统", "抽取\n文本：", ("name", "company"), "json_list", 256, longest_text=12)
TEXT = st.text("甲乙丙。\n ，”a.", max_size=60)
NAMES = re.compile("甲乙|丙丙+")


def gold(text: str) -> list[Entity]:
    return [Entity(*match.span(), "name", match[0]) for match in NAMES.finditer(text)]


@settings(deadline=None)
@given(TEXT, st.integers(1, 20), st.data())
def test_every_pass_covers_the_text_with_pieces_that_fit(text: str, longest: int, data: st.DataObject) -> None:
    context, count = data.draw(st.integers(0, longest // 2)), data.draw(st.integers(1, 4))
    cut = Cutting(longest, data.draw(st.booleans()), context, count).cut(text)
    assert len(cut) == (count if len(text) > longest else 1)
    for pieces in cut:
        covered = [index for piece in pieces for index in range(piece.start, piece.end)]
        assert covered == sorted(set(covered))
        assert all(text[index].isspace() for index in set(range(len(text))) - set(covered))
        for before, start, end in pieces:
            assert before <= start < end <= before + longest and start - before <= context
            assert text[before:end].strip() == text[before:end] and text[start:end].strip() == text[start:end]


def test_context_is_whole_sentences_or_begins_after_a_pause() -> None:
    text = "甲乙，丙丁。戊己，庚辛。壬癸，子丑。"

    def shown(context: int) -> list[tuple[str, str]]:
        return [
            (text[before:start], text[start:end]) for before, start, end in Cutting(12, True, context).cut(text)[0]
        ]

    assert shown(6) == [("", "甲乙，丙丁。"), ("甲乙，丙丁。", "戊己，庚辛。"), ("戊己，庚辛。", "壬癸，子丑。")]
    assert shown(5)[1:] == [("丙丁。", "戊己，庚辛。"), ("庚辛。", "壬癸，子丑。")]
    assert shown(2) == [("", "甲乙，丙丁。"), ("丁。", "戊己，庚辛。"), ("辛。", "壬癸，子丑。")]
    assert shown(0) == [("", "甲乙，丙丁。戊己，庚辛。"), ("", "壬癸，子丑。")]


def test_a_second_pass_cuts_elsewhere_and_a_whole_sentence_is_left_whole() -> None:
    text = "甲乙丙。丁戊己。庚辛壬。" + "字" * 20 + "。完。"
    first, second = ([text[p.start : p.end] for p in pieces] for pieces in Cutting(12, True, 0, 2).cut(text))
    assert first == ["甲乙丙。丁戊己。庚辛壬。", "字" * 12, "字" * 8 + "。完。"]
    # A cut where a sentence ends may be the same; the one inside a sentence is not.
    assert second == ["甲乙丙。", "丁戊己。庚辛壬。", "字" * 6, "字" * 7, "字" * 7 + "。", "完。"]
    lines = "甲乙丙丁戊己庚辛\n" * 4
    assert Cutting(12, True, 0, 3).cut(lines) == Cutting(12).cut(lines) * 3  # each is a sentence: asked once


def test_by_default_each_sentence_is_a_piece_and_only_longer_ones_are_cut() -> None:
    text = "甲乙。丙；丁……戊！己庚\n" + "字" * 20 + "。"

    def pieces(context: int = 0, passes: int = 1) -> list[list[tuple[str, str]]]:
        cut = Cutting(12, False, context, passes).cut(text)
        return [[(text[p.before : p.start], text[p.start : p.end]) for p in once] for once in cut]

    sentences = ["甲乙。", "丙；丁……戊！", "己庚"]
    assert pieces() == [[("", part) for part in [*sentences, "字" * 12, "字" * 8 + "。"]]]
    before = [("", "甲乙。"), ("甲乙。", "丙；丁……戊！"), ("丁……戊！", "己庚")]
    assert pieces(6)[0][:4] == [*before, ("戊！己庚\n", "字" * 6)]
    assert all(len(context) + len(piece) <= 12 for context, piece in pieces(6)[0])
    first, second = pieces(passes=2)
    assert second[:3] == first[:3] and second[3:] == [("", "字" * 6), ("", "字" * 10), ("", "字" * 4 + "。")]


@settings(deadline=None)
@given(
    TEXT,
    st.integers(2, 12),
    st.lists(st.tuples(st.sampled_from(["name", "company", "x"]), st.text("甲乙丙。 ", max_size=3)), max_size=9),
    st.data(),
)
def test_whatever_the_answer_offsets_point_at_the_surface_outside_the_context(text, longest, mentions, data) -> None:
    answer = json.dumps([{"label": label, "text": surface} for label, surface in mentions], ensure_ascii=False)
    context, count = data.draw(st.integers(0, longest // 2)), data.draw(st.integers(1, 3))
    cut = Cutting(longest, data.draw(st.booleans()), context, count).cut(text)
    found = []
    for pieces in cut:
        once = []
        for piece in pieces:
            part = read_answer(SPEC, text[piece.before : piece.end], answer, "stop")
            scored = placed(piece, part.entities, tuple(n / 10 for n in range(len(part.entities))))
            for (entity, score), (same, none) in zip(scored, placed(piece, part.entities), strict=True):
                assert piece.start <= entity.start < entity.end <= piece.end
                assert text[entity.start : entity.end] == entity.text
                where = Entity(entity.start - piece.before, entity.end - piece.before, entity.label, entity.text)
                assert score == part.entities.index(where) / 10 and (same, none) == (entity, None)
                once.append((entity, score))
        found.append((pieces, once))
    together = joined(len(text), found)
    assert [one for one, _ in together] == sorted({one for one, _ in together})
    assert set(together) <= {one for _, once in found for one in once}


def test_a_surface_in_context_and_piece_is_not_moved() -> None:
    text, piece = "甲乙来了。甲乙走了。", Piece(0, 5, 10)

    def found(*surfaces: str) -> list[int]:
        answer = json.dumps([{"text": surface, "label": "name"} for surface in surfaces], ensure_ascii=False)
        return [entity.start for entity, _ in placed(piece, read_answer(SPEC, text, answer, "stop").entities)]

    assert found("甲乙", "甲乙") == [5]  # the first is in the context
    assert found("甲乙") == []  # so this one may be, too: it is found where the context is a piece
    assert found("甲乙", "走了") == [7]
    assert found("了。甲") == []  # begins in the context


def name(start: int, end: int, label: str = "name") -> tuple[Entity, None]:
    return Entity(start, end, label, "字" * (end - start)), None


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ([name(0, 2)], [name(0, 2)], [name(0, 2)]),
        ([name(0, 2)], [name(1, 3), name(4, 6)], [name(0, 2), name(4, 6)]),
        ([name(0, 2)], [name(0, 2, "company")], [name(0, 2)]),
        ([name(8, 10), name(10, 11)], [name(9, 12)], [name(9, 12)]),  # the first pass saw two halves of it
        ([name(8, 10), name(2, 4)], [name(9, 12), name(11, 12), name(3, 5)], [name(2, 4), name(9, 12), name(11, 12)]),
        ([name(0, 5), name(1, 2)], [name(1, 3)], [name(0, 5), name(1, 2)]),  # nested ones of one pass stay
    ],
)
def test_where_passes_overlap_the_first_one_that_could_see_it_decides(first, second, kept) -> None:
    cut = [[Piece(0, 0, 10), Piece(10, 10, 20)], [Piece(0, 0, 5), Piece(5, 5, 15), Piece(15, 15, 20)]]
    assert joined(20, zip(cut, (first, second), strict=True)) == kept


@pytest.mark.parametrize(
    ("several", "context", "count"),
    [(False, 0, 1), (False, 0, 2), (False, 5, 1), (False, 5, 3), (True, 0, 1), (True, 5, 2)],
)
def test_a_perfect_model_finds_what_some_piece_holds_and_nothing_else(several: bool, context: int, count: int) -> None:
    async def perfect(server: Faulty, body: dict[str, Any]) -> web.Response:
        found = [{"text": entity.text, "label": entity.label} for entity in gold(server.asked[-1])]
        return completion(json.dumps(found, ensure_ascii=False))

    rng = random.Random(7)
    texts = ["".join(rng.choices("甲乙丙丙丁，。", k=rng.randint(0, 80))) for _ in range(120)]
    with Faulty(perfect) as server:
        spec = replace(SPEC, several_sentences=several)
        model = Recognizer(server.base_url, "nano", spec, context=context, passes=count)
        results = model.recognize(texts)
        cutting = Cutting(SPEC.longest_text, several, context, count)
        cut = [cutting.cut(text) for text in texts]
        assert len(server.asked) == sum(len(distinct(one)) for one in cut)
    expected = lost = 0
    for text, result, one in zip(texts, results, cut, strict=True):
        whole = [e for e in gold(text) if any(p.start <= e.start and e.end <= p.end for ps in one for p in ps)]
        # 丙丙 of a longer run may be seen in part, at a cut.
        assert [e for e in result.entities if e in gold(text)] == whole
        assert all(text[e.start : e.end] == e.text for e in result.entities)
        expected, lost = expected + len(gold(text)), lost + len(gold(text)) - len(whole)
    assert expected > 300 and lost < expected * (0.06 if count == 1 else 0.01 if several else 0.005)


def test_more_context_than_half_of_a_piece_is_refused(work: Path, ner_eval) -> None:
    replace(SPEC, labels=("name",)).save(Path("p.json"))
    Path("a.txt").write_text("林晓在\n", encoding="utf-8")
    asked = ("extract", "--model", "nano", "--prompt", "p.json", "a.txt", "--context", 7)
    with Faulty() as server:
        for more in ((), ("--output", "out.jsonl"), ("--dry-run",)):
            ended = ner_eval(*asked, "--base-url", server.base_url, *more)
            assert ended.code == 2 and ended.out == "" and not Path("out.jsonl").exists()
            assert ended.lines == [
                "ner-eval: --context 7: a piece with its context has 12 characters, and at most half of them may be context; "
                "give up to 6, or a larger --longest"
            ]
        with pytest.raises(UserError, match="--context 7: a piece"):
            Recognizer(server.base_url, "nano", SPEC, context=7).predict(["林晓在"])
        assert not server.bodies
        assert ner_eval(*asked, "--base-url", server.base_url, "--longest", 14).code == 0
    for bad in ("-1", "x", "1.5"):
        assert ner_eval(*asked, "--context", bad).code == 2 and ner_eval(*asked, "--passes", bad).code == 2


# With line breaks, the pieces are the records, so only a wrong cut or offset can lose anything. One after the other, 11
# of the 60 get an end mark that they lack as records, and more than the bound is lost where ends are not found.
@pytest.mark.serve
@pytest.mark.parametrize(("as_sentence", "most"), [(on_a_line, 0.01), (ended, 0.02)])
def test_a_document_loses_hardly_anything(
    server: Served, adapter: Path, as_sentence: Callable[[str], str], most: float
) -> None:
    records = list(read_gold(server.folder / "data/gold/demo/test.jsonl"))[:60]
    assert as_sentence is on_a_line or sum(ended(record.text) != record.text for record in records) == 11
    spec = PromptSpec.load(adapter / "ner_prompt.json")
    ways = [(False, 0, 1), (False, 0, 2)]
    single, once, twice = measure(server.base_url, server.models[1], spec, records, as_sentence, ways)
    assert single.f1 > 0 and min(once.f1, twice.f1) > single.f1 - most
    assert single.requests == once.requests == 60 and twice.requests >= 60
