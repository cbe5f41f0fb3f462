"""The fast tokenizer and the chat template of chatglm2/3, built from ``tokenizer.model``.

SentencePiece's BPE merges, at each step, the neighbouring pair whose joined piece has the best score; the fast
tokenizer merges the pair that comes first in a list. If the list holds every split of every piece in the order of the
scores (no two pieces share one), both do the same. Characters without a piece become bytes in both.

A fast tokenizer finds its special tokens anywhere in a text, SentencePiece nowhere. So:

- The chat template breaks up what looks like a special token in a message, with the same extra space as
  `ner_data.prompt.escape`: no client can forge a turn.
- `sop` and `eop` cannot be broken up ("philosophy"). They are found only if nothing else is between two special
  tokens, as in the template's ``[gMASK]sop<|user|>``: the normaliser turns such a stretch, and the token's own name,
  into " sop", and leaves no space in any other text, where spaces become "▁".
  (One exception remains: a text that is just the word sop, encoded on its own, is the special token.)
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, rooted
from ner_common.files import read_text, write_atomically, write_json
from ner_models.chatglm3.config import Shape

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # SentencePiece's piece types; chatglm has no others
SPACE = "▁"
COMMANDS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
ALONE = ("sop", "eop")
PADDED_TO = 256  # the embedding's rows are the next multiple that holds all tokens: 65,024 for 64,798


@dataclass(frozen=True, slots=True)
class Pieces:
    """A SentencePiece vocabulary: ``(piece, score, type)``, the id is the position."""

    path: Path
    rows: tuple[tuple[str, float, int], ...]


def read_pieces(path: Path) -> Pieces:
    """Read a SentencePiece model that works as chatglm's does.

    Raises:
        UserError: the file is missing, is not a SentencePiece model, or is one that normalises or splits differently.
    """
    try:
        from google.protobuf.message import DecodeError
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise UserError(f"the conversion needs the train environment ({error}): .venv-train/bin/ner-model") from None
    if not path.is_file():
        raise UserError(f"{rooted(path)}: no such file; it belongs to the original checkpoint, download it again")
    model: Any = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{rooted(path)}: not a SentencePiece model; download it again") from None
    trainer, normaliser = model.trainer_spec, model.normalizer_spec
    normal = sum(p.type == NORMAL for p in model.pieces)
    as_chatglm = {
        "model type BPE": trainer.model_type == 2,
        "byte fallback": trainer.byte_fallback,
        "no normalisation": not normaliser.precompiled_charsmap,
        "a dummy prefix": normaliser.add_dummy_prefix and not trainer.treat_whitespace_as_suffix,
        "spaces kept": not normaliser.remove_extra_whitespaces and normaliser.escape_whitespaces,
        "ids <unk> 0, <s> 1, </s> 2": [p.piece for p in model.pieces[:3]] == ["<unk>", "<s>", "</s>"],
        "one score per piece": len({p.score for p in model.pieces if p.type == NORMAL}) == normal,
        "no user-defined pieces": all(p.type in (NORMAL, UNKNOWN, CONTROL, BYTE) for p in model.pieces),
    }
    if lacking := [name for name, holds in as_chatglm.items() if not holds]:
        raise UserError(f"{rooted(path)}: not chatglm's tokenizer (it lacks: {', '.join(lacking)})")
    return Pieces(path, tuple((p.piece, p.score, p.type) for p in model.pieces))


def check_size(pieces: Pieces, vocab: int) -> None:
    """Refuse a tokenizer that does not belong to an embedding of ``vocab`` rows: all special ids would be wrong.

    Raises:
        UserError: chatglm2/3 with 65,024 rows have 64,789 pieces, and any other number must round up to the rows; or a
            special token's name is a piece too, and a fast tokenizer could not tell them apart.
    """
    if clash := {piece for piece, _, _ in pieces.rows} & {*COMMANDS, *ROLES}:
        raise UserError(f"{rooted(pieces.path)}: has {sorted(clash)} as pieces; it is another model's tokenizer")
    count = len(pieces.rows)
    rows = -(-(count + len(COMMANDS + ROLES)) // PADDED_TO) * PADDED_TO
    if rows != vocab or (vocab == 65024 and count != 64789):
        raise UserError(
            f"{rooted(pieces.path)}: has {count} pieces, which do not fit the {vocab} rows of the embedding; "
            "it is another model's tokenizer; download it again"
        )


def special_ids(pieces: Pieces, version: int) -> dict[str, int]:
    """The ids of the model's own special tokens: they follow the pieces in a fixed order; chatglm2 has no roles."""
    tokens = COMMANDS + (ROLES if version == 3 else ())
    return {token: number for number, token in enumerate(tokens, start=len(pieces.rows))}


def end_ids(pieces: Pieces, shape: Shape) -> list[int]:
    """The ids that end an answer: `</s>`, and in chatglm3 the next user turn or observation."""
    ids = special_ids(pieces, shape.version)
    return [2] + [ids[role] for role in ("<|user|>", "<|observation|>") if role in ids]


def merges(pieces: Pieces) -> list[tuple[str, str]]:
    """Every split of every piece into two pieces, best joined piece first.

    Splits of one piece share a score, and SentencePiece then takes the leftmost pair, whatever its split. Here one
    split must come first: the one with the longer left part. If two overlap ("aa"+"a", "a"+"aa"), no text is known
    for which the order matters; the tests look for one.
    """
    normal = {piece: score for piece, score, kind in pieces.rows if kind == NORMAL}
    found = [
        (-score, -cut, piece[:cut], piece[cut:])
        for piece, score in normal.items()
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def tokenizer_json(pieces: Pieces, version: int) -> dict[str, Any]:
    """The contents of ``tokenizer.json``."""
    vocab = {piece: number for number, (piece, _, _) in enumerate(pieces.rows)}
    special = {token: vocab[token] for token in ("<unk>", "</s>")} | special_ids(pieces, version)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            # "normalized": searched for in the normalised text, not in the raw one
            {"id": number, "content": token, "normalized": token in ALONE, **flags}
            for token, number in sorted(special.items(), key=lambda item: item[1])
        ],
        "normalizer": {"type": "Sequence", "normalizers": list(_normalizers(version))},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges(pieces),
        },
    }


def _normalizers(version: int) -> Iterator[dict[str, Any]]:
    yield {"type": "Prepend", "prepend": SPACE}
    yield {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    for token in ALONE:
        yield {"type": "Replace", "pattern": {"Regex": rf"\A{SPACE}{re.escape(token)}\z"}, "content": f" {token}"}
    if version == 2:
        # Its template continues in plain text after `sop`; no special token ends the stretch.
        first = rf"\A{SPACE}sop(?=\[Round{SPACE}1\])"
        yield {"type": "Replace", "pattern": {"Regex": first}, "content": f" sop{SPACE}"}


def write_tokenizer(folder: Path, pieces: Pieces, shape: Shape) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.

    ``tokenizer.model`` is left out on purpose: some loaders would build a tokenizer of their own from it.
    """
    with write_atomically(folder / "tokenizer.json") as file:
        json.dump(tokenizer_json(pieces, shape.version), file, ensure_ascii=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "</s>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
        "extra_special_tokens": list(special_ids(pieces, shape.version)),
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)
    template = Path(__file__).with_name(f"chatglm{shape.version}.jinja")
    with write_atomically(folder / "chat_template.jinja") as file:
        file.write(read_text(template, "install llamafactory-ner again"))
