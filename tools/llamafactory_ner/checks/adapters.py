"""Checks that an adapter fits the recipe, its base model and its texts."""

from pathlib import Path
from typing import Any

from llamafactory_ner.checks.base_model import base_problems
from llamafactory_ner.checks.configs import AdapterConfig, read_adapter_config, read_model_config
from llamafactory_ner.methods import DEFAULT_VIRTUAL_TOKENS, METHODS
from ner_common.adapters import ENCODER_FILE, is_whole_model
from ner_common.errors import rooted

OF_A_MODEL = ("config.json", "adapter_config.json", "*.safetensors", "*.bin", "ner_*.json")


def adapter_problems(model_args: Any, finetuning_args: Any) -> list[str]:
    """Problems with local adapters: their method, base model or length is not the recipe's."""
    method = finetuning_args.finetuning_type
    adapters = model_args.adapter_name_or_path or []
    problems = []
    if method in METHODS and len(adapters) > 1:
        problems.append(f"{method} takes one adapter, not {len(adapters)}")
    for adapter in adapters:
        config = read_adapter_config(Path(adapter))
        trained_by = config.method if config else None
        kind = trained_by.name if trained_by else "lora"
        if is_whole_model(Path(adapter)):
            remedy = f"serve it as it is (make serve ADAPTER={adapter}), or name it as model_name_or_path"
            problems.append(f"{adapter}: a whole model, not an adapter, so there is nothing to merge; {remedy}")
        elif method in METHODS and not config and Path(adapter).exists():
            problems.append(f"{adapter}: no adapter_config.json there; give an adapter's folder")
        elif config and kind != method and (kind in METHODS or method in METHODS):
            problems.append(f"{adapter} is a {kind} adapter: set finetuning_type: {kind}")
        elif config:
            problems += base_problems(adapter, config, model_args.model_name_or_path)
            if kind in METHODS:
                problems += length_mismatch(adapter, config, finetuning_args)
    return problems


def export_problems(model_args: Any) -> list[str]:
    """Problems with exporting: the folder is taken, or adapters would be merged into less than the full weights."""
    if model_args.export_dir is None:
        return []
    problems = occupied(Path(model_args.export_dir))
    model = model_args.model_name_or_path
    config = read_model_config(Path(model))
    if not model_args.adapter_name_or_path:
        return problems
    if model_args.quantization_bit is not None:
        problems.append("export: an adapter is merged into full weights; remove quantization_bit")
    elif config and config.quantization_config:
        remedy = "and an adapter is merged into full weights; name the folder of those"
        problems.append(f"export: {model} is quantised, {remedy}")
    return problems


def occupied(folder: Path) -> list[str]:
    """The problem, if a folder holds a model or its records: what stays would be taken for the new one's."""
    found = sorted({path.name for pattern in OF_A_MODEL for path in folder.glob(pattern)})
    if not found:
        return []
    named = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return [f"export_dir: {rooted(folder)} holds a model already ({named}); remove it, or name another export_dir"]


def length_mismatch(adapter: str, config: AdapterConfig, finetuning_args: Any) -> list[str]:
    """The problem, if the recipe and the soft-prompt adapter differ in the number of virtual tokens."""
    length = finetuning_args.num_virtual_tokens
    own = config.num_virtual_tokens
    return [f"{adapter} has {own} virtual tokens, not {length}"] if length not in (None, own) else []


def training_problems(model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> list[str]:
    """Problems with continuing training from an adapter, and with a soft prompt and texts too long for the context."""
    problems = []
    for adapter in model_args.adapter_name_or_path or [] if training_args.do_train else []:
        config = read_adapter_config(Path(adapter))
        if config and config.has_mlp and not (Path(adapter) / ENCODER_FILE).is_file():
            problems.append(f"{adapter} lacks {ENCODER_FILE}, which further training needs; train a new one")
    return problems + context_problems(model_args, data_args, finetuning_args, training_args.do_train)


def context_problems(model_args: Any, data_args: Any, finetuning_args: Any, new: bool) -> list[str]:
    """The soft prompt (the adapter's, else a `new` one) plus the longest text must fit a local base's context."""
    base = read_model_config(Path(model_args.model_name_or_path))
    context = base.max_position_embeddings if base else None
    length = (finetuning_args.num_virtual_tokens or DEFAULT_VIRTUAL_TOKENS) if new else 0
    remedy = "lower one of them"
    for adapter in model_args.adapter_name_or_path or []:
        config = read_adapter_config(Path(adapter))
        length = (config.num_virtual_tokens or 0) if config else 0
        remedy = f"lower cutoff_len ({adapter} has that many virtual tokens)"
    if context is None or length + data_args.cutoff_len <= context:
        return []
    return [
        f"num_virtual_tokens {length} + cutoff_len {data_args.cutoff_len} exceeds the {context} positions of "
        f"{model_args.model_name_or_path}: {remedy}"
    ]
