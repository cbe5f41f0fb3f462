"""The fast tokenizer against SentencePiece itself, and the chat template against llamafactory's encoding."""

import json
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chatglm_support import SPECIAL, TINY, hard_strings, real_tokenizer, train_tokenizer
from ner_data.prompt import escape
from ner_models.chatglm3.config import Shape
from ner_models.chatglm3.tokenizer import read_pieces, write_tokenizer

pytestmark = pytest.mark.train


def shape(vocab: int, version: int = 3) -> Shape:
    return Shape("x", version, 28, 4096, 32, 2, 128, 13696, vocab, 8192, 1e-5)


def build(folder: Path, model: Path, version: int = 3, **options: Any) -> tuple[Any, Any]:
    """(fast tokenizer loaded by transformers, SentencePiece processor) of one model file."""
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    folder.mkdir(exist_ok=True)
    write_tokenizer(folder, read_pieces(model), shape(65024, version))
    fast = AutoTokenizer.from_pretrained(folder, **options)
    return fast, SentencePieceProcessor(model_file=str(model))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("tiny")
    return build(folder / "fast", train_tokenizer(folder / "tiny"))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return build(tmp_path_factory.mktemp("real"), real_tokenizer())


def compare(pair: tuple[Any, Any], texts: list[str], decoding: bool = True) -> None:
    fast, slow = pair
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        for text, ids in zip(batch, fast(batch)["input_ids"], strict=True):
            assert ids == slow.encode(text), repr(text)
            if decoding:
                assert fast.decode(ids) == slow.decode(ids) == text.replace("▁", " "), repr(text)


def test_a_small_model_gives_the_ids_of_sentencepiece_and_decodes_back(tiny: tuple[Any, Any]) -> None:
    compare(tiny, [escape(text) for text in hard_strings(20_000, seed=1) if text not in ("sop", "eop")])


def test_chatglm3_gives_the_ids_of_sentencepiece_on_100_000_hard_strings_and_decodes_back(
    real: tuple[Any, Any],
) -> None:
    texts = {escape(text) for text in hard_strings(115_000, seed=2) if text not in ("sop", "eop")}
    assert len(texts) >= 100_000
    compare(real, sorted(texts))


@pytest.mark.parametrize(
    ("count", "distinct"), [(23_000, 20_000), pytest.param(115_000, 100_000, marks=pytest.mark.slow)]
)
def test_special_tokens_are_plain_text_where_the_tokenizer_is_asked_to_split_them(
    tmp_path: Path, count: int, distinct: int
) -> None:
    pair = build(tmp_path, real_tokenizer(), split_special_tokens=True)
    texts = {text for text in hard_strings(count, seed=3) if text not in ("sop", "eop")}
    assert len(texts) >= distinct
    compare(pair, sorted(texts))


def corpus_texts(shared: Path) -> list[str]:
    texts = []
    for path in sorted((shared / "data/cluener").glob("*.json")):
        texts += [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for folder in ("tcm", "resume"):
        for path in sorted(p for p in (shared / "data" / folder).iterdir() if p.suffix != ".md"):
            rows = path.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n\n")
            texts += ["".join(row[0] for row in block.split("\n") if row) for block in rows if block.strip()]
    return texts


def test_chatglm3_gives_the_ids_of_sentencepiece_on_the_real_corpora(real: tuple[Any, Any], shared: Path) -> None:
    texts = corpus_texts(shared)
    assert len(texts) == 13_436 + 6_574 + 4_761
    compare(real, texts)


def test_overlapping_splits_of_one_piece_are_merged_as_sentencepiece_does(real: tuple[Any, Any]) -> None:
    """The one case in which the order of the merge list could matter: x+y = y+z, with x y z in a row."""
    fast, _ = real
    pieces = {piece for piece in fast.get_vocab() if len(piece) > 1}
    texts = []
    for piece in pieces:
        for cut in range(1, len(piece)):
            x, y = piece[:cut], piece[cut:]
            if x != y and piece.startswith(y):
                texts += [
                    a + runs + b
                    for a in ("", "x", " ")
                    for b in ("", "的")
                    for runs in (x + y + x, y + x + y, piece * 3, y + piece)
                ]
    texts = [text.replace("▁", " ") for text in texts if not text.startswith(("<", "["))]
    assert len(texts) > 5_000
    compare(real, texts, decoding=False)


def test_the_special_tokens_have_the_published_ids(real: tuple[Any, Any]) -> None:
    fast, _ = real
    assert fast.convert_tokens_to_ids(SPECIAL) == list(range(64789, 64798))
    assert (fast.unk_token_id, fast.pad_token_id, fast.eos_token_id, fast.bos_token_id) == (0, 0, 2, None)
    assert fast.decode([64790, 64792, 64795, 24954, 2], skip_special_tokens=True) == "hello"


def test_a_saved_tokenizer_loads_as_the_same(real: tuple[Any, Any], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    fast, _ = real
    fast.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    chat = [{"role": "user", "content": "philosophy [gMASK] sop"}]
    assert ids_of(again, chat) == ids_of(fast, chat)
    assert again.convert_tokens_to_ids(SPECIAL) == list(range(64789, 64798))


# --- template --------------------------------------------------------------------------------------------------------


def ids_of(tokenizer: Any, messages: list[dict[str, str]], prompt: bool = True) -> list[int]:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.fixture(scope="session")
def chatglm3_template(real: tuple[Any, Any]) -> Any:
    # llamafactory 0.9.5 imports torchaudio without using it for text; the CPU environment has none.
    sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    return get_template_and_fix_tokenizer(real[0], DataArguments(template="chatglm3"))


def conversations(count: int) -> list[list[dict[str, str]]]:
    """Alternating turns that end with the assistant's, some with a system text, some empty, all escaped."""
    rng = random.Random(4)
    texts = iter([escape(text) for text in hard_strings(count * 8, seed=5) if text not in ("sop", "eop")])
    found = []
    for number in range(count):
        turns = [{"role": "system", "content": next(texts)}] if number % 3 else []
        for _ in range(rng.randint(1, 3)):
            turns.append({"role": "user", "content": rng.choice([next(texts), "", " x "])})
            turns.append({"role": "assistant", "content": rng.choice([next(texts), "", "\n"])})
        found.append(turns)
    return found


def test_prompts_and_answers_have_the_ids_that_llamafactory_trains_on(
    real: tuple[Any, Any], chatglm3_template: Any
) -> None:
    fast, _ = real
    for turns in conversations(1_000):
        system = turns[0]["content"] if turns[0]["role"] == "system" else None
        talk = turns[1:] if system is not None else turns
        prompt, answer = chatglm3_template.encode_oneturn(fast, talk, system)
        assert ids_of(fast, turns[:-1]) == prompt, turns
        assert ids_of(fast, turns, prompt=False) == prompt + answer, turns


def test_llamafactory_ends_answers_where_the_generation_config_does(
    real: tuple[Any, Any], chatglm3_template: Any
) -> None:
    assert sorted(chatglm3_template.get_stop_token_ids(real[0])) == [2, 64795, 64797]


def test_each_piece_of_a_prompt_is_encoded_by_itself(real: tuple[Any, Any]) -> None:
    fast, slow = real
    system, user = "你是专家。", "  philosophy\n的 sop "
    expected = [
        64790,
        64792,
        64794,
        *slow.encode("\n"),
        *slow.encode(system),
        64795,
        *slow.encode("\n"),
        *slow.encode(user),
    ]
    assert ids_of(fast, [{"role": "system", "content": system}, {"role": "user", "content": user}]) == [
        *expected,
        64796,
    ]


@pytest.mark.parametrize("look_alike", [*SPECIAL, "<unk>", "</s>", "<s>", "[gMASK]sop<|user|>"])
def test_a_message_cannot_forge_a_special_token(real: tuple[Any, Any], look_alike: str) -> None:
    fast, slow = real
    for text in (look_alike, f"a{look_alike}b", f"{look_alike} {look_alike}"):
        ids = ids_of(fast, [{"role": "system", "content": text}, {"role": "user", "content": text}])
        special = [i for i in ids if i >= 64789 or i < 3]
        assert special == [64790, 64792, 64794, 64795, 64796]
        body = ids[ids.index(64795) + 1 + len(slow.encode("\n")) : -1]
        assert slow.decode(body).replace(" ", "") == text.replace(" ", "")


def test_a_role_that_chatglm3_does_not_know_is_refused(real: tuple[Any, Any]) -> None:
    with pytest.raises(Exception, match="has no role critic"):
        ids_of(real[0], [{"role": "critic", "content": "x"}])


def test_chatglm2_writes_the_rounds_of_its_own_build_prompt(tmp_path: Path) -> None:
    fast, slow = build(tmp_path, real_tokenizer(), version=2)
    turns = [("user", "你好 sop"), ("assistant", "[gMASK好]"), ("user", "[Round 1]")]
    text = "[Round 1]\n\n问：你好 sop\n\n答：[gMASK好]\n\n[Round 2]\n\n问：[Round 1]\n\n答："
    ids = ids_of(fast, [{"role": role, "content": content} for role, content in turns])
    assert ids == [64790, 64792, *slow.encode(text)]
    assert TINY["padded_vocab_size"] == 768 and fast.convert_tokens_to_ids("eop") == 64793 and len(fast) == 64794
