"""Checks that an adapter belongs to a base model: on another of the same size it would load, but answer wrongly."""

import json
import re
from pathlib import Path
from typing import Any

from llamafactory_ner.methods import method_of
from ner_common.files import read_object
from ner_common.fingerprints import other_weights, safetensors_header

LORA_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight")
READ_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "gate_up_proj")
WRITE_HIDDEN = ("o_proj", "down_proj")


def base_problems(adapter: str, config: dict[str, Any], model: str) -> list[str]:
    """How `model` differs, in shape or weights, from the base of the adapter with this PEFT configuration."""
    trained_on = config.get("base_model_name_or_path")
    head = f"{adapter}: was trained on another base"
    remedy = f"name {trained_on or 'its own'}, or train on {model} again"
    base = read_object(Path(model) / "config.json")
    method = method_of(config)
    theirs = base_shape(base, bool(method and method.in_every_layer)) if base else {}
    problems = [
        f"{head} ({name} {ours}, {model} has {theirs[name]}); {remedy}"
        for name, ours in adapter_shape(Path(adapter), config).items()
        if theirs.get(name) and ours and ours != theirs[name]
    ]
    if not problems and trained_on and other_weights(Path(trained_on), Path(model)):
        problems.append(f"{head} (the weights in {model} differ); {remedy}")
    return problems


def base_doubt(adapter: str, config: dict[str, Any], model: str) -> str | None:
    """A warning if the adapter's base has a different name: it may be the same model renamed, or a different one."""
    trained_on = config.get("base_model_name_or_path") or model
    if Path(trained_on).resolve() == Path(model).resolve() or model_name(trained_on) == model_name(model):
        return None
    return (
        f"{adapter}: was trained on {trained_on}, not on {model}; if they are the same model, set "
        f"base_model_name_or_path in its adapter_config.json to {model}; if not, name the right one"
    )


def model_name(model: str) -> str:
    """A model's name: the last part of its folder or hub id; a converted chatglm has the original's name."""
    return Path(model).name.lower().removesuffix("-glm")


def base_shape(base: dict[str, Any], in_every_layer: bool) -> dict[str, Any]:
    """A base model's number of layers, and the width of what a soft prompt feeds into every layer or the first."""
    heads, hidden = base.get("num_attention_heads", 1), base.get("hidden_size", 0)
    key_width = (base.get("head_dim") or hidden // heads) * base.get("num_key_value_heads", heads)
    return {"layers": base.get("num_hidden_layers"), "width": key_width if in_every_layer else hidden}


def adapter_shape(adapter: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The same for an adapter; for LoRA, taken from the tensors whose role is known."""
    if config.get("peft_type") != "LORA":
        return {"layers": config.get("num_layers"), "width": config.get("token_dim")}
    layers, width = 0, None
    for tensor, shape in stored_shapes(adapter / "adapter_model.safetensors").items():
        if found := LORA_NAME.fullmatch(tensor):
            layer, module, side = found.groups()
            layers = max(layers, int(layer) + 1)
            if (side == "A" and module in READ_HIDDEN) or (side == "B" and module in WRITE_HIDDEN):
                width = shape[1] if side == "A" else shape[0]
    in_part = config.get("layers_to_transform") or any("." in part for part in config.get("target_modules") or [])
    return {"layers": None if in_part else layers, "width": width}


def stored_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> shape of a safetensors file's tensors; {} if it is missing or damaged, which PEFT reports."""
    try:
        header = json.loads(safetensors_header(path))
        return {tensor: entry["shape"] for tensor, entry in header.items() if tensor != "__metadata__"}
    except (OSError, ValueError):
        return {}
