"""nano: its pretraining shares nothing with demo, its tokenizer is lossless, its prompt is LLaMA-Factory's."""

import random
import re
from pathlib import Path

import pytest

from ner_data import demo, demo_words
from ner_data.answers import json_list
from ner_data.prompt import SYSTEM, PromptSpec, instruction
from ner_models.nano import text, text_words, tokenizer
from support import ROOT

NANO = ROOT / "data/nano"
LEVELS = (text.EASY, text.MIDDLE, text.FULL)
MESSAGES = [
    *PromptSpec(
        "demo", SYSTEM, instruction(list(demo.LABELS.items()), json_list.NAME), tuple(demo.LABELS), json_list.NAME, 128
    ).messages("记者从云帆科技获悉，《长夜》与 TCP/IP 无关……🙂"),
    {"role": "assistant", "content": '[{"text":"云帆科技","label":"company"},{"text":"《长夜》","label":"book"}]'},
]


@pytest.fixture(scope="module")
def pretraining() -> list[text.Sample]:
    """About half as many samples as the committed model saw."""
    rng = random.Random(0)
    return [text.sample(rng, rng.choice(LEVELS)) for _ in range(20_000)]


def test_pretraining_has_no_label_of_demo(pretraining: list[text.Sample]) -> None:
    asked = {label for sample in pretraining for label in sample.spec.labels}
    listed = {sample.spec.instruction.split("\n")[1] for sample in pretraining}
    names = {name for line in listed for name in re.findall(r"（([^）]*)）", line)}
    assert not asked & {*demo.LABELS, *demo.LABELS.values()}
    assert not names & {*demo.LABELS, *demo.LABELS.values()}
    assert not {kind.id for kind in text.KINDS} & set(demo.LABELS)
    assert not set(text_words.ID_WORDS) & set(demo.LABELS)


def test_pretraining_has_no_entity_of_demo(pretraining: list[text.Sample]) -> None:
    held_out = {surface for split in demo.lexicon().values() for surfaces in split.values() for surface in surfaces}
    mentioned = {s.record.text[start:end] for s in pretraining for start, end, _ in s.mentions}
    assert mentioned
    assert not mentioned & held_out


def test_pretraining_shares_no_word_with_demo() -> None:
    """Unlike samples, the lists hold all that the committed model can have seen. Chinese does not separate words, so
    none may be part of a word of the other side either (得了 in 获得了)."""
    ours = (*demo.LABELS.values(), *(value for name, value in vars(demo_words).items() if name.isupper()))
    cues = (*text_words.BEFORE, *text_words.AFTER, *text_words.JOINTS, *text_words.FILLERS)
    assert _shared(_words(*ours), _words(text_words.TYPES, *cues)) == set()


def _words(*texts: str) -> set[str]:
    """The runs of two or more Chinese characters, slots taken out: words of a list, or the text between two slots."""
    return {word for line in texts for word in re.findall(r"[\u4e00-\u9fff]{2,}", re.sub(r"\{\w+\}", " ", line))}


def _shared(one: set[str], other: set[str]) -> set[str]:
    """Words of either side that also occur on the other, even inside longer ones."""
    return {word for word in one if any(word in longer for longer in other)} | {
        word for word in other if any(word in longer for longer in one)
    }


def test_pretraining_has_no_template_of_demo(pretraining: list[text.Sample]) -> None:
    frames = {_frame(sentence, spans) for split in demo.sentences().values() for sentence, spans in split if spans}
    theirs = {_frame(s.record.text, [(a, b, "") for a, b, _ in s.mentions]) for s in pretraining if s.mentions}
    assert not {frame for frame in frames if len(frame) > 2} & theirs


def test_pretraining_words_have_no_sentence_of_demo() -> None:
    templates = {re.sub(r"\{\w+\}", "", template) for template in demo.templates()}
    of_kinds = {cue for kind in text.KINDS for cue in (*kind.before, *kind.after)}
    cues = {*text_words.BEFORE, *text_words.AFTER, *text_words.FILLERS, *of_kinds}
    assert not templates & cues
    assert not set(demo_words.EMPTY_TEMPLATES.strip().split("\n")) & cues


def _frame(sentence: str, spans: list[tuple[int, int, str]]) -> str:
    """A sentence with its mentions and its outer punctuation taken out."""
    for start, end, _ in sorted(spans, reverse=True):
        sentence = sentence[:start] + "{}" + sentence[end:]
    return sentence.strip("。！？；…~.，, ")


def test_pretraining_samples_are_the_same_every_time() -> None:
    assert text.sample(random.Random(1)) == text.sample(random.Random(1))


def test_some_pretraining_answers_are_empty(pretraining: list[text.Sample]) -> None:
    empty = sum(not sample.record.gold for sample in pretraining) / len(pretraining)
    assert 0.05 < empty < 0.3


def test_committed_files_are_at_most_ten_megabytes() -> None:
    files = [path for path in NANO.rglob("*") if path.is_file()]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) <= 10_000_000


@pytest.mark.train
def test_committed_tokenizer_is_what_the_code_builds(tmp_path: Path) -> None:
    tokenizer.write_tokenizer(tmp_path, 1024)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (NANO / name).read_bytes()


@pytest.mark.train
def test_tokenizer_round_trips_any_unicode() -> None:
    from transformers import AutoTokenizer

    built = AutoTokenizer.from_pretrained(NANO)
    # Every seventh character of the basic plane and some of the others, and pairs that normalisation would change.
    characters = [*range(0, 0xD800, 7), *range(0xE000, 0xFFFF, 7), *range(0x10000, 0x110000, 997)]
    everything = "".join(map(chr, characters)) + "e\u0301 é Å Å ｅ \r\n\t  "
    for start in range(0, len(everything), 500):
        piece = everything[start : start + 500]
        assert built.decode(built.encode(piece, add_special_tokens=False)) == piece


@pytest.mark.train
def test_common_characters_are_one_token_inside_a_word() -> None:
    from transformers import AutoTokenizer

    built = AutoTokenizer.from_pretrained(NANO)
    assert all(len(built.encode(character)) == 1 for character in tokenizer.common_characters())
    assert len(built.encode("云帆科技林晓")) == 6


@pytest.mark.train
def test_prompt_ids_are_llamafactorys() -> None:
    from llamafactory.data.template import TEMPLATES
    from transformers import AutoTokenizer

    built = AutoTokenizer.from_pretrained(NANO)
    template = TEMPLATES["qwen"]
    template.fix_special_tokens(built)
    prompt, answer = template.encode_oneturn(built, MESSAGES[1:], system=MESSAGES[0]["content"])
    assert built.apply_chat_template(MESSAGES[:2], add_generation_prompt=True, return_dict=False) == prompt
    # LLaMA-Factory trains on the newline after the last turn's end as well.
    assert built.apply_chat_template(MESSAGES, return_dict=False) == prompt + answer
    assert built.decode(answer).rstrip("\n").endswith(tokenizer.END_OF_TURN)


@pytest.mark.train
def test_model_loads_as_float32_with_tied_embeddings() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(NANO)
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.max_position_embeddings >= 1024
