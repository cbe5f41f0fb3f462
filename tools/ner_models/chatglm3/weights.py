"""How the tensors of the original checkpoint map to those of the native one.

Every tensor is copied unchanged, row by row; only `query_key_value` is split: its rows are the queries of all heads,
then the keys, then the values of the key-value groups. The MLP's first matrix keeps its order (gate, then up).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ner_models.chatglm3.config import Shape

DROPPED = {"transformer.rotary_pos_emb.inv_freq": "computed from the config"}
PREFIX = "transformer.prefix_encoder."


@dataclass(frozen=True, slots=True)
class Target:
    """Rows ``[start, stop)`` of a source tensor, under the name they have in the native checkpoint."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor that the source must have: its shape and its targets."""

    shape: tuple[int, ...]
    targets: tuple[Target, ...]


def plan(shape: Shape) -> dict[str, Wanted]:
    """Source name -> shape and targets, for every tensor that goes into the native checkpoint."""
    return dict(_rows(shape))


def _rows(shape: Shape) -> Iterator[tuple[str, Wanted]]:
    def whole(source: str, target: str, *size: int) -> tuple[str, Wanted]:
        return f"transformer.{source}", Wanted(size, (Target(target, 0, size[0]),))

    hidden, ffn, vocab = shape.hidden, shape.ffn, shape.vocab
    yield whole("embedding.word_embeddings.weight", "model.embed_tokens.weight", vocab, hidden)
    for layer in range(shape.layers):
        old, new = f"encoder.layers.{layer}", f"model.layers.{layer}"
        yield whole(f"{old}.input_layernorm.weight", f"{new}.input_layernorm.weight", hidden)
        yield from _query_key_value(shape, old, new)
        yield whole(f"{old}.self_attention.dense.weight", f"{new}.self_attn.o_proj.weight", hidden, hidden)
        yield whole(f"{old}.post_attention_layernorm.weight", f"{new}.post_attention_layernorm.weight", hidden)
        yield whole(f"{old}.mlp.dense_h_to_4h.weight", f"{new}.mlp.gate_up_proj.weight", 2 * ffn, hidden)
        yield whole(f"{old}.mlp.dense_4h_to_h.weight", f"{new}.mlp.down_proj.weight", hidden, ffn)
    yield whole("encoder.final_layernorm.weight", "model.norm.weight", hidden)
    yield whole("output_layer.weight", "lm_head.weight", vocab, hidden)


def _query_key_value(shape: Shape, old: str, new: str) -> Iterator[tuple[str, Wanted]]:
    groups = shape.kv_heads * shape.head_dim
    rows = shape.hidden + 2 * groups
    cuts = {"q": (0, shape.hidden), "k": (shape.hidden, rows - groups), "v": (rows - groups, rows)}
    for kind, size in (("weight", (rows, shape.hidden)), ("bias", (rows,))):
        targets = tuple(Target(f"{new}.self_attn.{part}_proj.{kind}", *cut) for part, cut in cuts.items())
        yield f"transformer.{old}.self_attention.query_key_value.{kind}", Wanted(size, targets)


def problems(wanted: Mapping[str, Wanted], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Why the tensors ``found`` (name -> shape) cannot be converted, one line per problem; no tensor is ignored."""
    lines = [f"{name} is missing" for name in wanted if name not in found]
    for name, size in found.items():
        if name in wanted and wanted[name].shape != size:
            lines.append(f"{name} has shape {list(size)}, the config says {list(wanted[name].shape)}")
        elif name.startswith(PREFIX):
            lines.append(f"{name} is a P-Tuning v2 prefix; remove it here; `ner-model import-prefix` converts it")
        elif name not in wanted and name not in DROPPED:
            lines.append(f"{name} is not a tensor of chatglm3-6b")
    return lines
