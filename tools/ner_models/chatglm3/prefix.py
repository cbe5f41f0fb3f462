"""``ner-model import-prefix SRC DST``: a P-Tuning v2 checkpoint of the original chatglm2/3 code as a PEFT adapter.

The original code and PEFT keep a prefix in the same order: for each virtual token, layer after layer, its key and its
value, each ``[groups, head_dim]``. They differ in where the text begins: at position 0 in the original code, at N (the
number of virtual tokens) in PEFT and in vLLM. With rotary embedding a score depends on the difference of positions, so
a key rotated by N positions has the same effect on a text at N as the original key on a text at 0. The rotation comes
after the projection (`prefix_projection`), which is computed here once and for all.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.configs import ModelConfig, read_model_config
from ner_common.errors import UserError, one_line, rooted
from ner_common.files import check_free, read_json, whole_folder
from ner_models.chatglm3.config import Shape, read_config
from ner_models.chatglm3.shards import TORCH_NAMES, Stored, find_shards, open_shard, write_shard
from ner_models.chatglm3.weights import PREFIX

Tensor = Any
BASE = Path("models/chatglm3-6b-glm")  # where its recipe puts the converted download
CONVERT = "name with --base the folder that `ner-model convert-chatglm3` made from the model it was trained on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", type=Path, help="The folder that the original training script wrote.")
    parser.add_argument("target", metavar="DST", type=Path, help="The adapter folder to write; it must not exist yet.")
    parser.add_argument(
        "--base",
        type=Path,
        default=BASE,
        help="The folder of the converted base model, which the adapter will name (default: %(default)s).",
    )


def run(args: argparse.Namespace) -> None:
    print(import_prefix(args.source, args.target, base=args.base))


@dataclass(frozen=True, slots=True)
class ImportedPrefix:
    """An adapter made from a P-Tuning v2 checkpoint: its folder, its sizes, the numbers of tensors read and used."""

    target: Path
    tokens: int
    layers: int
    parameters: int
    read: int
    used: int

    def __str__(self) -> str:
        """Two lines for the user."""
        sizes = f"{self.tokens} virtual tokens, {self.layers} layers, {self.parameters:,} parameters"
        return (
            f"{rooted(self.target)}: {sizes}\n"
            f"tensors: read {self.read}, used {self.used}, left out {self.read - self.used} (not part of the prefix)"
        )


def import_prefix(source: Path, target: Path, *, base: Path = BASE) -> ImportedPrefix:
    """Write the adapter that computes what the checkpoint's prefix did.

    Args:
        source: checkpoint folder of the original training script.
        target: the adapter's folder, which must not exist.
        base: the converted base model, as the adapter will name it.

    Raises:
        UserError: the target exists; the source is not a P-Tuning v2 checkpoint of chatglm2/3, or does not fit the
            config next to it (layers, groups, number of virtual tokens), the context, or the base if that exists.
    """
    check_free(target)
    try:
        import peft  # noqa: F401 - needed at the end, checked at the start
    except ImportError as error:
        raise UserError(f"the import needs the train environment ({error}): .venv-train/bin/ner-model") from None
    # The old scripts can train on a base quantised in memory, and say so in the config; the prefix is not quantised.
    shape = read_config(source, ignore=("quantization_bit",))
    stored: dict[str, Stored] = {}
    for path in find_shards(source):
        stored |= open_shard(path)
    own = {name.removeprefix(PREFIX): tensor for name, tensor in stored.items() if name.startswith(PREFIX)}
    check_prefix(source, own, shape)
    check_base(source, shape, base)
    embeddings = rotated_keys(flat_prefix({name: load(tensor) for name, tensor in own.items()}), shape)
    tokens, width = embeddings.shape
    with whole_folder(target) as partial:
        entry = ("prompt_embeddings", "F32", (tokens, width))
        write_shard(partial / "adapter_model.safetensors", [entry], [embeddings.numpy().tobytes()])
        peft_config(shape, tokens, base).save_pretrained(partial)
    return ImportedPrefix(target, tokens, shape.layers, embeddings.numel(), len(stored), len(own))


def check_prefix(source: Path, own: dict[str, Stored], shape: Shape) -> None:
    """Compare the prefix encoder's tensors with the shapes that follow from the config.

    Raises:
        UserError: a tensor is missing or has another shape, or the prefix is longer than the context.
    """
    if "embedding.weight" not in own:
        problem = f"has no {PREFIX}embedding.weight"
        raise UserError(f"{rooted(source)}: {problem}; name a checkpoint of chatglm2's or 3's P-Tuning v2 script")
    tokens = own["embedding.weight"].shape[0]
    width, hidden = shape.layers * 2 * shape.kv_heads * shape.head_dim, shape.hidden
    wanted: dict[str, tuple[int, ...]] = {"embedding.weight": (tokens, width)}
    if len(own) > 1:  # with projection
        wanted |= {"trans.0.weight": (hidden, width), "trans.0.bias": (hidden,)}
        wanted |= {"trans.2.weight": (width, hidden), "trans.2.bias": (width,)}
    found = {name: tensor.shape for name, tensor in own.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            has, needs = (list(shapes[name]) if name in shapes else "nothing" for shapes in (found, wanted))
            sizes = f"{shape.layers} layers of {shape.kv_heads} key-value groups"
            remedy = "put the config.json of the model it was trained on next to it"
            raise UserError(f"{rooted(source)}: {PREFIX}{name} is {has}, {sizes} need {needs}; {remedy}")
    if tokens >= shape.context:
        context = f"the context of {shape.context}"
        raise UserError(
            f"{rooted(source)}: a prefix of {tokens} tokens leaves no room in {context}; train a shorter one"
        )


def check_base(source: Path, shape: Shape, base: Path) -> None:
    """Compare the model that the prefix was trained on with the base that the adapter will name, if that exists.

    Raises:
        UserError: the folder holds a model of another shape, or the original instead of the converted one.
    """
    if not (base / "config.json").is_file():
        return
    config = read_json(base / "config.json", "the base model is incomplete", dict[str, Any])
    if config.get("model_type") != "glm":
        raise UserError(f"{rooted(base)}: not a converted chatglm ({one_line(config.get('model_type'))}); {CONVERT}")
    sizes = read_model_config(base) or ModelConfig()
    for name, ours, theirs in (
        ("layers", shape.layers, sizes.num_hidden_layers),
        ("key-value groups", shape.kv_heads, sizes.num_key_value_heads),
        ("head size", shape.head_dim, sizes.head_dim),
    ):
        if ours != theirs:
            problem = f"was trained on another base ({name} {ours}, {rooted(base)} has {theirs})"
            raise UserError(f"{rooted(source)}: {problem}; {CONVERT}")


def load(stored: Stored) -> Tensor:
    """A stored tensor in float32."""
    import torch

    data = bytearray(b"".join(stored.read(0, stored.shape[0])))
    return torch.frombuffer(data, dtype=getattr(torch, TORCH_NAMES[stored.dtype])).reshape(stored.shape).float()


def flat_prefix(own: dict[str, Tensor]) -> Tensor:
    """The prefix encoder's output, ``[tokens, layers * 2 * groups * head_dim]``: an embedding, or an MLP on it."""
    import torch

    embedding = own["embedding.weight"]
    if len(own) == 1:
        return embedding
    inner = torch.tanh(embedding @ own["trans.0.weight"].T + own["trans.0.bias"])
    return inner @ own["trans.2.weight"].T + own["trans.2.bias"]


def rotated_keys(prefix: Tensor, shape: Shape) -> Tensor:
    """Rotate every key by as many positions as there are virtual tokens; values are unchanged, and so is the shape.

    chatglm rotates the first half of each head in pairs of neighbours: pair j by the angle
    ``position * 10000 ** (-2j / rotated)``.
    """
    import torch

    tokens, rotated = prefix.shape[0], shape.head_dim // 2
    result = prefix.clone().double().view(tokens, shape.layers, 2, shape.kv_heads, shape.head_dim)
    pairs = result[:, :, 0, :, :rotated].unflatten(-1, (-1, 2))
    angle = tokens * 10000.0 ** (-torch.arange(0, rotated, 2, dtype=torch.double) / rotated)
    x, y = pairs[..., 0].clone(), pairs[..., 1].clone()
    pairs[..., 0] = x * angle.cos() - y * angle.sin()
    pairs[..., 1] = x * angle.sin() + y * angle.cos()
    return result.view(tokens, -1).float()


def peft_config(shape: Shape, tokens: int, base: Path) -> Any:
    """The `PrefixTuningConfig` that PEFT itself would have saved."""
    from peft import PrefixTuningConfig

    width = shape.kv_heads * shape.head_dim
    return PrefixTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(base),
        inference_mode=True,
        num_virtual_tokens=tokens,
        token_dim=width,
        num_transformer_submodules=1,
        num_attention_heads=shape.kv_heads,
        num_layers=shape.layers,
        encoder_hidden_size=width,
        prefix_projection=False,
    )
