"""Arguments that cannot work with a soft prompt, each as a line that says what to do instead."""

import json
from pathlib import Path
from typing import Any

from llamafactory_ner.finetuning_args import FIELDS, SOFT_PROMPTS

# Arguments that are switches or names in llamafactory, and what to do instead of setting them with a soft prompt.
UNSUPPORTED = {
    "use_unsloth": "unset it",
    "use_kt": "unset it",
    "shift_attn": "unset it",
    "mixture_of_depths": "unset it",
    "use_galore": "use the default optimizer",
    "use_apollo": "use the default optimizer",
    "use_badam": "use the default optimizer",
    "use_llama_pro": "unset it",
    "packing": "unset it: only the first text of a pack would see the soft prompt",
    "neat_packing": "unset it: only the first text of a pack would see the soft prompt",
    "fsdp": "use plain data parallelism or DeepSpeed ZeRO-2",
}


def argument_problems(given: dict[str, Any], lora_only: set[str]) -> list[str]:
    """Problems in the arguments as they were written (`given`: name -> value), before defaults hide them."""
    method = given.get("finetuning_type", "lora")
    if method not in SOFT_PROMPTS:
        misplaced = [name for name in FIELDS if name in given]
        return [f"{', '.join(misplaced)}: only for finetuning_type p_tuning or prefix_tuning"] if misplaced else []
    problems = []
    if misplaced := sorted(lora_only & set(given)):
        problems.append(
            f"{', '.join(misplaced)}: not an argument of {method}; remove it, or set finetuning_type: lora"
        )
    for name, remedy in UNSUPPORTED.items():
        if str(given.get(name) or "false").lower() != "false":
            problems.append(f"{name} does not work with {method}: {remedy}")
    if given.get("stage", "sft") != "sft":
        problems.append(f"stage {given['stage']} does not work with {method}: use stage: sft, or LoRA")
    if zero_stage(given.get("deepspeed")) == 3:
        problems.append(
            f"DeepSpeed ZeRO-3 does not work with {method}: use a ZeRO-2 configuration (ds_z2_config.json)"
        )
    return problems + length_problems(given) + encoder_problems(given, method)


def length_problems(given: dict[str, Any]) -> list[str]:
    """Problems of `num_virtual_tokens` and its other name."""
    lengths = {name: given[name] for name in ("num_virtual_tokens", "pre_seq_len") if given.get(name) is not None}
    problems = [
        f"{name}: {value} is not a positive whole number"
        for name, value in lengths.items()
        if not str(value).isdecimal() or int(value) < 1
    ]
    if len({str(value) for value in lengths.values()}) > 1:
        problems.append("num_virtual_tokens and pre_seq_len are two names of one number: give one of them")
    return problems


def encoder_problems(given: dict[str, Any], method: str) -> list[str]:
    """Problems of the arguments that describe the MLP behind a soft prompt."""
    projection = str(given.get("prefix_projection") or "false").lower() == "true"
    if method == "p_tuning" and "prefix_projection" in given:
        return ["prefix_projection: not an argument of p_tuning, which always has an MLP; remove it"]
    if method == "prefix_tuning" and not projection and given.get("prompt_encoder_hidden_size") is not None:
        return ["prompt_encoder_hidden_size: prefix_tuning has an MLP only with prefix_projection: true"]
    return []


def zero_stage(deepspeed: Any) -> int | None:
    """The ZeRO stage of a DeepSpeed configuration (mapping, JSON text or file), None if there is none to read."""
    if isinstance(deepspeed, str):
        if not deepspeed.lstrip().startswith("{"):
            if not Path(deepspeed).is_file():
                return None
            deepspeed = Path(deepspeed).read_text(encoding="utf-8")
        deepspeed = json.loads(deepspeed)
    return deepspeed.get("zero_optimization", {}).get("stage") if isinstance(deepspeed, dict) else None


def model_problems(model_args: Any, finetuning_args: Any) -> list[str]:
    """Problems of a soft prompt with the command that it is given to."""
    method = finetuning_args.finetuning_type
    problems = []
    if model_args.export_dir is not None:
        problems.append(
            f"export: {method} cannot be merged into the weights; use `ner-model export` for p_tuning and "
            "`ner-model serve` for prefix_tuning"
        )
    if model_args.infer_backend != "huggingface":
        problems.append(
            f"infer_backend {model_args.infer_backend} does not know {method}; "
            "use `ner-model serve`, or infer_backend: huggingface"
        )
    return problems
