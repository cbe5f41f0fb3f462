"""Checks that an adapter belongs to a base model: on another of the same size it would load, but answer wrongly."""

import re
from pathlib import Path

from llamafactory_ner.checks.configs import LORA, AdapterConfig, ModelConfig, read_model_config
from ner_common.fingerprints import other_weights
from ner_common.weights import stored_tensors

LORA_NAME = re.compile(
    r"base_model\.model\.model\.layers\.([0-9]{1,6})\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight"
)
READ_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "gate_up_proj")
WRITE_HIDDEN = ("o_proj", "down_proj")


def base_problems(adapter: str, config: AdapterConfig, model: str) -> list[str]:
    """How `model` differs, in shape or weights, from the base of the adapter with this PEFT configuration."""
    trained_on = config.base_model_name_or_path
    head = f"{adapter}: was trained on another base"
    remedy = f"name {trained_on or 'its own'}, or train on {model} again"
    base = read_model_config(Path(model))
    theirs = base_shape(base, bool(config.method and config.method.in_every_layer)) if base else {}
    problems = [
        f"{head} ({name} {ours}, {model} has {theirs[name]}); {remedy}"
        for name, ours in adapter_shape(Path(adapter), config).items()
        if theirs.get(name) and ours and ours != theirs[name]
    ]
    if not problems and trained_on and other_weights(Path(trained_on), Path(model)):
        problems.append(f"{head} (the weights in {model} differ); {remedy}")
    return problems


def base_doubt(adapter: str, config: AdapterConfig, model: str) -> str | None:
    """A warning if the adapter's base has a different name: it may be the same model renamed, or a different one."""
    trained_on = config.base_model_name_or_path or model
    if Path(trained_on).resolve() == Path(model).resolve() or model_name(trained_on) == model_name(model):
        return None
    return (
        f"{adapter}: was trained on {trained_on}, not on {model}; if they are the same model, set "
        f"base_model_name_or_path in its adapter_config.json to {model}; if not, name the right one"
    )


def model_name(model: str) -> str:
    """A model's name: the last part of its folder or hub id; a converted chatglm has the original's name."""
    return Path(model).name.lower().removesuffix("-glm")


def base_shape(base: ModelConfig, in_every_layer: bool) -> dict[str, int | None]:
    """A base model's number of layers, and the width of what a soft prompt feeds into every layer or the first."""
    heads, hidden = base.num_attention_heads or 1, base.hidden_size or 0
    key_width = (base.head_dim or hidden // heads) * (base.num_key_value_heads or heads)
    return {"layers": base.num_hidden_layers, "width": key_width if in_every_layer else hidden}


def adapter_shape(adapter: Path, config: AdapterConfig) -> dict[str, int | None]:
    """The same for an adapter; for LoRA, taken from the tensors whose role is known."""
    if config.peft_type != LORA:
        return {"layers": config.num_layers, "width": config.token_dim}
    layers, width = 0, None
    for tensor, shape in stored_shapes(adapter / "adapter_model.safetensors").items():
        if (found := LORA_NAME.fullmatch(tensor)) and len(shape) == 2:
            layer, module, side = found.groups()
            layers = max(layers, int(layer) + 1)
            if (side == "A" and module in READ_HIDDEN) or (side == "B" and module in WRITE_HIDDEN):
                width = shape[1] if side == "A" else shape[0]
    in_part = config.layers_to_transform or any("." in part for part in config.target_modules or ())
    return {"layers": None if in_part else layers, "width": width}


def stored_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> shape of a safetensors file's tensors; {} if it is missing or damaged, which PEFT reports."""
    try:
        return {name: tensor.shape for name, tensor in stored_tensors(path).items()}
    except (OSError, ValueError):
        return {}
