"""Small checkpoints in the original chatglm format, with random weights, and texts that trip up tokenizers."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import SHARED

# All relevant fields of the original config.json, with small sizes. Heads of 32: vLLM on a CPU has no smaller ones.
TINY = {
    "_name_or_path": "THUDM/chatglm3-6b",
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_residual_connection_post_layernorm": False,
    "ffn_hidden_size": 192,
    "hidden_size": 128,
    "kv_channels": 32,
    "layernorm_epsilon": 1e-05,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 4,
    "num_layers": 3,
    "original_rope": True,
    "padded_vocab_size": 768,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 512,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def real_tokenizer() -> Path:
    """chatglm3's own SentencePiece model, which is not part of the repository."""
    path = SHARED / "chatglm3/tokenizer.model"
    if not path.is_file():
        pytest.skip("absent: the model file ../shared/chatglm3/tokenizer.model")
    return path


def train_tokenizer(path: Path, pieces: int = 600, words: tuple[str, ...] = ()) -> Path:
    """A SentencePiece model with chatglm's settings, trained on generated text; by default it fits TINY's 768 rows."""
    import sentencepiece

    rng = random.Random(5)
    words = [
        *words,
        "的",
        "公司",
        "北京",
        "philosophy",
        "so",
        "op",
        "the",
        "哈哈哈",
        "----",
        "::",
        "    ",
        "编辑",
        "abab",
        "12",
    ]
    lines = ["".join(rng.choice(words) + rng.choice(["", " ", "，"]) for _ in range(20)) for _ in range(400)]
    lines += ["".join(chr(rng.randrange(0x4E00, 0x4E80)) for _ in range(20)) for _ in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path.with_suffix("")),
        model_type="bpe",
        vocab_size=pieces,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
    )
    return path.with_suffix(".model")


def table(config: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], float, float]]:
    """Name -> (shape, spread, mean) of an original checkpoint's tensors; independent of the converter's own table."""
    hidden, ffn, vocab = config["hidden_size"], config["ffn_hidden_size"], config["padded_vocab_size"]
    rows = hidden + 2 * config["multi_query_group_num"] * config["kv_channels"]
    found = {
        "transformer.embedding.word_embeddings.weight": ((vocab, hidden), 1.0, 0.0),
        "transformer.rotary_pos_emb.inv_freq": ((config["kv_channels"] // 4,), 1.0, 0.0),
        "transformer.encoder.final_layernorm.weight": ((hidden,), 0.1, 1.0),
        "transformer.output_layer.weight": ((vocab, hidden), hidden**-0.5, 0.0),
    }
    for layer in range(config["num_layers"]):
        name = f"transformer.encoder.layers.{layer}"
        found |= {
            f"{name}.input_layernorm.weight": ((hidden,), 0.1, 1.0),
            f"{name}.self_attention.query_key_value.weight": ((rows, hidden), hidden**-0.5, 0.0),
            f"{name}.self_attention.query_key_value.bias": ((rows,), 1.0, 0.0),
            f"{name}.self_attention.dense.weight": ((hidden, hidden), hidden**-0.5, 0.0),
            f"{name}.post_attention_layernorm.weight": ((hidden,), 0.1, 1.0),
            f"{name}.mlp.dense_h_to_4h.weight": ((2 * ffn, hidden), hidden**-0.5, 0.0),
            f"{name}.mlp.dense_4h_to_h.weight": ((hidden, ffn), ffn**-0.5, 0.0),
        }
    return found


def random_tensors(config: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    """Normally distributed tensors, the same on every call; spread so that activations stay near 1."""
    import torch

    generator = torch.Generator().manual_seed(7)
    return {
        name: (torch.randn(*shape, generator=generator) * spread + mean).to(getattr(torch, dtype))
        for name, (shape, spread, mean) in table(config).items()
    }


def write_checkpoint(
    folder: Path, tokenizer: Path, *, form: str = "safetensors", dtype: str = "float32", **changes: Any
) -> dict[str, Any]:
    """Write a checkpoint in two shards and return its tensors. ``form``: safetensors or bin."""
    folder.mkdir(parents=True)
    config = {**TINY, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    tensors = random_tensors(config, dtype)
    write_shards(folder, tensors, form)
    return tensors


def write_shards(folder: Path, tensors: dict[str, Any], form: str = "safetensors") -> None:
    import torch
    from safetensors.torch import save_file

    stem, suffix = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    names = list(tensors)
    half = len(names) // 2
    shards = {f"{stem}-0000{n}-of-00002.{suffix}": part for n, part in ((1, names[:half]), (2, names[half:]))}
    for shard, part in shards.items():
        content = {name: tensors[name] for name in part}
        if form == "safetensors":
            save_file(content, folder / shard)
        else:
            torch.save(content, folder / shard)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def edit_config(source: Path, **changes: Any) -> None:
    """Change fields of a checkpoint's config; ``...`` removes one."""
    path = source / "config.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not ...}))


def edit_tensors(source: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite a checkpoint's tensors with changes."""
    tensors = random_tensors(json.loads((source / "config.json").read_text()))
    change(tensors)
    write_shards(source, tensors)


SPECIAL = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
LOOK_ALIKES = [
    *SPECIAL,
    "<unk>",
    "<s>",
    "</s>",
    "<pad>",
    "<0x0A>",
    "<0xE4>",
    "[gMASK]sop",
    "philosophy",
    "sopeop",
    "<|",
]
RANGES = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x905, 0x939),
    (0xE01, 0xE3A), (0x300, 0x36F), (0x1100, 0x11FF), (0x2000, 0x206F), (0x2580, 0x259F), (0x3000, 0x30FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xFE00, 0xFE0F), (0xFF01, 0xFFEE),
    (0xFFF0, 0xFFFF), (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
    (0xF0000, 0xF0FFF), (0x10FFF0, 0x10FFFF), (0x00, 0x1F),
]  # fmt: skip
BLANKS = [
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\u3000",
    "\u00a0",
    "\u200b",
    "\u2028",
    "\ufeff",
    "▁",
    "▁▁",
    "\x85",
]
REPEATED = [" ", "哈", "-", "=", "ab", "an", "。", "！", "1", "\n", "是不", "▁", "er", "😀", "[", "<|"]
WORDS = [
    "the",
    "公司",
    "ＡＢＣ",
    "１２３",
    "👨‍👩‍👧",
    "🇨🇳",
    "e\u0301",
    "https://x.cn/?a=1&b=2",
    "3.14",
    "def f(x):",
    '{"a": [1]}',
    "的",
]


def hard_strings(count: int, seed: int) -> Iterator[str]:
    """Texts of full-width, emoji, rare and private-use characters, blanks, runs, mixed scripts and look-alikes."""
    rng = random.Random(seed)
    kinds = [
        lambda: "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 6))),
        lambda: "".join(chr(rng.randint(*RANGES[rng.choice((0, 14, 18))])) for _ in range(rng.randint(1, 12))),
        lambda: rng.choice(LOOK_ALIKES),
        lambda: rng.choice(BLANKS),
        lambda: rng.choice(REPEATED) * rng.randint(1, 40),
        lambda: rng.choice(WORDS),
    ]
    for _ in range(count):
        yield "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 8)))


def write_full_size(folder: Path, form: str, shards: int) -> int:
    """A checkpoint of chatglm3-6b's size (28 layers, bf16) with repeated random bytes; returns the tensors' bytes."""
    from math import prod

    import torch

    from ner_models.chatglm3.shards import write_shard

    folder.mkdir(parents=True)
    config = {**TINY, "hidden_size": 4096, "ffn_hidden_size": 13696, "kv_channels": 128, "num_attention_heads": 32}
    config |= {"num_layers": 28, "padded_vocab_size": 65024, "seq_length": 8192}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(real_tokenizer().read_bytes())
    shapes = {name: shape for name, (shape, _, _) in table(config).items()}
    block = random.Random(3).randbytes(8 << 20)
    names, weight_map, total = list(shapes), {}, 0
    stem, suffix = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    for number in range(shards):
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]  # whole layers, as published
        shard = f"{stem}-{number + 1:05d}-of-{shards:05d}.{suffix}"
        size = sum(2 * prod(shapes[name]) for name in part)
        if form == "safetensors":
            chunks = (block[: min(len(block), size - at)] for at in range(0, size, len(block)))
            write_shard(folder / shard, [(name, "BF16", shapes[name]) for name in part], chunks)
        else:
            bits = torch.frombuffer(bytearray(block), dtype=torch.bfloat16)
            repeated = {name: bits.repeat(prod(shapes[name]) // len(bits) + 1) for name in part}
            torch.save({n: t[: prod(shapes[n])].clone().view(shapes[n]) for n, t in repeated.items()}, folder / shard)
        total += size
        weight_map |= dict.fromkeys(part, shard)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return total


def bare_glm() -> Any:
    """A tiny model with random weights, of the architecture that chatglm3 is converted to."""
    import torch
    from transformers import GlmConfig, GlmForCausalLM

    torch.manual_seed(0)
    config = GlmConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        attention_bias=True,
        partial_rotary_factor=0.5,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return GlmForCausalLM(config)
