"""The original ``config.json``: which models can be converted, and the equivalent native ``glm`` config."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ner_common.decoding import convert
from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_json

REMEDY = "SRC must be the folder of the original chatglm3-6b (`ner-model download chatglm3-6b`)"
SIZES = {
    "layers": "num_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "multi_query_group_num",
    "head_dim": "kv_channels",
    "ffn": "ffn_hidden_size",
    "vocab": "padded_vocab_size",
    "context": "seq_length",
}
# What chatglm3-6b and chatglm2-6b share, unlike their relatives (chatglm-6b, the 32k, 128k and int4 versions,
# glm-4-9b): field -> (value, value if the field is absent).
SAME = {
    "original_rope": (True, False),
    "rope_ratio": (1, 1),
    "quantization_bit": (0, 0),
    "add_bias_linear": (False, False),
    "add_qkv_bias": (True, False),
    "rmsnorm": (True, True),
    "post_layer_norm": (True, True),
    "apply_residual_connection_post_layernorm": (False, False),
    "multi_query_attention": (True, False),
    "tie_word_embeddings": (False, False),
}
# Relatives that differ only in their training, by the names they are published under.
OTHERS = re.compile(r"codegeex|longalign|visualglm|chatglm-6b|chatglm[23]-6b-(?:base|\d+k)|glm-?4", re.IGNORECASE)


LARGEST, MOST_LAYERS = 1 << 20, 1 << 10
Name = Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]


class _Stated(msgspec.Struct, frozen=True):
    """What the config says of itself besides `SIZES` and `SAME`."""

    architectures: list[Name] | None = None
    name_or_path: Name | None = msgspec.field(name="_name_or_path", default=None)
    model_type: Name | None = None
    layernorm_epsilon: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 1e-5


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that determine the shapes of the weights; ``name`` is what the config calls its model.

    ``version`` is 2 or 3: they differ only in special tokens and template, and only the name tells them apart.
    """

    name: str
    version: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    norm_eps: float


def read_config(source: Path, ignore: tuple[str, ...] = ()) -> Shape:
    """Read the config of an original chatglm3-6b or chatglm2-6b, or of one that differs only in its sizes.

    Args:
        source: the folder that holds ``config.json``.
        ignore: fields of `SAME` that do not matter to the caller.

    Raises:
        UserError: there is no config, or it is another model's; the message names that model.
    """
    if not source.is_dir():
        raise UserError(f"{rooted(source)}: no such folder; {REMEDY}")
    path = source / "config.json"
    value = read_json(path, REMEDY, dict[str, Any])
    try:
        stated = convert(value, _Stated)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: not a model's config: {error}; {REMEDY}") from None
    architecture = (stated.architectures or ["unknown architecture"])[0]
    name = stated.name_or_path or architecture
    refused = f"{rooted(path)}: {name} ({stated.model_type}, {architecture}) is not chatglm3-6b or chatglm2-6b"
    if stated.model_type != "chatglm":
        raise UserError(f"{refused}; {REMEDY}")
    if wrong := [key for key in SIZES.values() if type(value.get(key)) is not int or not 0 < value[key] <= LARGEST]:
        raise UserError(f"{refused}: it lacks {', '.join(wrong)}; {REMEDY}")
    for key, (wanted, absent) in SAME.items():
        found = value.get(key, absent)
        if key not in ignore and (absent if found is None else found) != wanted:
            raise UserError(f"{refused}: {key} is {one_line(found)}, not {wanted}; {REMEDY}")
    if OTHERS.search(stated.name_or_path or source.name):
        raise UserError(f"{refused}: of the same shape but trained for another purpose; {REMEDY}")
    version = 2 if "chatglm2" in f"{name} {source.name}".lower() else 3
    sizes: dict[str, int] = {field: value[key] for field, key in SIZES.items()}
    shape = Shape(name, version, norm_eps=stated.layernorm_epsilon, **sizes)
    if shape.layers > MOST_LAYERS:
        raise UserError(f"{refused}: {shape.layers} layers; {REMEDY}")
    if shape.heads * shape.head_dim != shape.hidden or shape.heads % shape.kv_heads:
        raise UserError(f"{refused}: {shape.heads} heads of {shape.head_dim} do not make {shape.hidden}; {REMEDY}")
    return shape


def glm_config(shape: Shape, dtype: str, eos: list[int]) -> dict[str, Any]:
    """The native config; ``dtype`` is torch's name of the weights' type, ``eos`` the ids that end an answer."""
    return {
        "architectures": ["GlmForCausalLM"],
        "model_type": "glm",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": dtype,
        # The class's defaults are outside this vocabulary.
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": 0,
    }
