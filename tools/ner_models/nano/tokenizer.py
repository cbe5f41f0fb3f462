"""nano's tokenizer: ByteLevel BPE like Qwen's, but most of its merges are constructed, not learnt.

A common Chinese character is one token and stays one token inside a word, so copying a mention means copying
its characters; the phrases of the prompt, the chat roles and the JSON around an answer take few tokens. Every other
character falls back to its bytes: any Unicode text encodes, and decodes to itself (there is no normalisation, where
Qwen's tokenizer normalises to NFC).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ner_common.files import write_json
from ner_data.answers import json_list
from ner_data.prompt import SYSTEM, instruction
from ner_models.nano import text_words as words

END_OF_TEXT, TURN, END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, TURN, END_OF_TURN)
# How a text is split before merging; the pattern of Qwen2's published tokenizer.json.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# ChatML, as LLaMA-Factory's template `qwen` writes it: no default system text, a newline after every turn.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PUNCTUATION = "，。、；：？！“”‘’（）《》〈〉【】「」『』·…—～％℃￥×÷°"
LATIN_MERGES = 320

type_words = [line.split("|") for line in words.TYPES.strip().split("\n")]


def common_characters() -> list[str]:
    """The characters that are one token: GB2312's first level, rarer ones of names, full-width marks."""
    first_level = [
        bytes([row, cell]).decode("gb2312")
        for row in range(0xB0, 0xD8)
        for cell in range(0xA1, 0xFF)
        if not (row == 0xD7 and cell > 0xF9)
    ]
    full_width = [chr(code) for code in range(0xFF01, 0xFF5F)]
    return list(dict.fromkeys([*first_level, *words.RARER, *PUNCTUATION, *full_width]))


def byte_alphabet() -> dict[int, str]:
    """ByteLevel's printable stand-in for each byte (GPT-2's table): printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}


def fixed_phrases() -> list[str]:
    """The fixed text of every prompt and answer of the default form, between the parts that change."""
    asked = instruction([], json_list.NAME)
    answers = '[{"text":"', '","label":"', '"},{"text":"', '"}]', "[]"
    return [SYSTEM, asked, *answers, "system\n", "user\n", "assistant\n", "：\n", "）、", "）。\n"]


def _learn(pieces: list[list[str]], most: int | None = None) -> list[tuple[str, str]]:
    """Byte-pair merges of the most frequent neighbours (the first seen if equal), until ``most`` or each piece is one token."""
    merges: list[tuple[str, str]] = []
    while most is None or len(merges) < most:
        pairs = Counter(pair for piece in pieces for pair in pairwise(piece))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: pairs[pair])
        merges.append(best)
        pieces = [_apply(piece, best) for piece in pieces]
    return merges


def _apply(piece: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for token in piece:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged


def _character_merges(characters: Iterable[str], alphabet: dict[int, str]) -> list[tuple[str, str]]:
    """Merges that make each character one token: its first two bytes first, then the third (never the last two first)."""
    spelled = [[alphabet[byte] for byte in character.encode()] for character in characters]
    heads = dict.fromkeys((spelling[0], spelling[1]) for spelling in spelled if len(spelling) > 1)
    tails = dict.fromkeys((spelling[0] + spelling[1], spelling[2]) for spelling in spelled if len(spelling) > 2)
    return [*heads, *tails]


def build_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Tokens with their ids, and the merges in order; the special tokens come after the vocabulary."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    alphabet = byte_alphabet()
    characters = common_characters()
    spelled = {character: "".join(alphabet[byte] for byte in character.encode()) for character in characters}
    cut = Split(Regex(PATTERN), "isolated")

    def pieces(texts: Iterable[str]) -> list[list[str]]:
        cuts = [piece for text in texts for piece, _ in cut.pre_tokenize_str(text)]
        return [["".join(alphabet[byte] for byte in character.encode()) for character in piece] for piece in cuts]

    merges = _character_merges(characters, alphabet)
    merges += _learn(pieces([*words.ID_WORDS, *(row[0] for row in type_words)]), LATIN_MERGES)
    known = set(merges)
    phrases = pieces(fixed_phrases())
    for merge in merges:
        phrases = [_apply(phrase, merge) for phrase in phrases]
    merges += [merge for merge in _learn(phrases) if merge not in known]
    tokens = [*alphabet.values(), *(left + right for left, right in merges)]
    missing = [character for character, spelling in spelled.items() if spelling not in set(tokens)]
    if missing:
        raise ValueError(f"characters without a token: {missing[:9]}")
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges


def tokenizer_json() -> dict[str, Any]:
    """The contents of ``tokenizer.json`` (Hugging Face tokenizers, version 1.0)."""
    vocabulary, merges = build_vocabulary()
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(vocabulary) + n, "content": token, **flags} for n, token in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(merge) for merge in merges],
        },
    }


def write_tokenizer(directory: Path, max_length: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; ``max_length`` in tokens."""
    write_json(directory / "tokenizer.json", tokenizer_json())
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "additional_special_tokens": [TURN, END_OF_TURN],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(directory / "tokenizer_config.json", config)
