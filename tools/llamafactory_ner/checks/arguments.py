"""Checks for arguments that do not work with a soft prompt, together, or on this machine, with the remedy for each."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.datasets import split
from llamafactory_ner.methods import ARGUMENTS, METHODS, NAMES, PEFT_LORA, UNSUPPORTED, Method, is_set
from ner_common.decoding import decode_json
from ner_common.errors import UserError, escaped, rooted
from ner_common.files import read_json
from ner_common.machine import installed
from ner_common.training_record import TRACKERS

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def argument_problems(given: dict[str, Any], lora_only: set[str]) -> list[str]:
    """Problems in the arguments as written (`given`: name -> value), before defaults are filled in."""
    method = METHODS.get(str(given.get("finetuning_type")))
    if given.get("finetuning_type") == PEFT_LORA:
        return [f"finetuning_type {PEFT_LORA} is trained without llamafactory: run `make train` or `ner-model train`"]
    if method is None:
        misplaced = [name for name in ARGUMENTS if name in given]
        return [f"{', '.join(misplaced)}: only for finetuning_type {NAMES}"] if misplaced else []
    problems = []
    if misplaced := sorted(lora_only & set(given)):
        remedy = "remove it, or set finetuning_type: lora"
        problems.append(f"{', '.join(misplaced)}: not an argument of {method.name}; {remedy}")
    launched = {"fsdp": os.environ.get("ACCELERATE_USE_FSDP")}  # by `accelerate launch`
    for name, remedy in UNSUPPORTED.items():
        if is_set(given.get(name) or launched.get(name)):
            problems.append(f"{name} does not work with {method.name}: {remedy}")
    if given.get("stage", "sft") != "sft":
        problems.append(f"stage {given['stage']} does not work with {method.name}: use stage: sft, or LoRA")
    if zero_stage(given.get("deepspeed")) == 3:
        problems.append(
            f"DeepSpeed ZeRO-3 does not work with {method.name}: use a ZeRO-2 configuration (ds_z2_config.json)"
        )
    return problems + length_problems(given) + encoder_problems(given, method)


def quantization_problems(given: dict[str, Any]) -> list[str]:
    """Problems with training on a base that bitsandbytes quantises (QLoRA), as written."""
    if not is_set(given.get("quantization_bit")) or str(given.get("quantization_method", "bnb")) != "bnb":
        return []
    kind = given.get("finetuning_type", "lora")
    if kind in ("full", "freeze"):
        return [f"quantization_bit does not work with {kind}: remove it, or set finetuning_type: lora"]
    if installed("bitsandbytes") is None:
        return ["quantization_bit: bitsandbytes is not installed here; `make train` builds the environment with it"]
    return []


def tracker_problems(given: Mapping[str, Any]) -> list[str]:
    """Problems with what a training reports to (``report_to``, ``use_swanlab``), as written."""
    names = set(split(given.get("report_to"))) - {"none", "all"}
    if is_set(given.get("use_swanlab")):
        names.add("swanlab")
    unknown = names.difference(TRACKERS)
    if unknown and installed("transformers"):  # recipes can be read without it
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

        if unknown := unknown - INTEGRATION_TO_CALLBACK.keys():
            shown = ", ".join(map(escaped, sorted(unknown)))
            return [f"report_to: {shown}: no tracker; choose {', '.join(TRACKERS)} or none"]
    return [
        f"report_to: {name} is not installed here; run `.venv-train/bin/pip install {name}`, or set report_to: none"
        for name in sorted(names.intersection(TRACKERS))
        if installed(name) is None
    ]


def sharding_problems(given: Mapping[str, Any]) -> list[str]:
    """Problems with what spreads a training over GPUs (``deepspeed``, ``fsdp``), as written."""
    problems = []
    for name, folder in (("deepspeed", "recipes/deepspeed"), ("fsdp_config", "recipes")):
        file = given.get(name)
        if isinstance(file, str) and not file.lstrip().startswith("{") and not Path(file).is_file():
            problems.append(f"{name}: {rooted(Path(file))}: no such file; name one in {folder}/")
    used = [name for name in ("deepspeed", "fsdp") if is_set(given.get(name))]
    if "deepspeed" in used and installed("deepspeed") is None:
        problems.append("deepspeed: not installed here; it is part of the environment for NVIDIA GPUs")
    elif used and "LOCAL_RANK" not in os.environ:
        problems.append(f"{used[0]}: only under torchrun; set FORCE_TORCHRUN=1 before the command")
    return problems


def early_stopping_problems(given: Mapping[str, Any]) -> list[str]:
    """Problems with ``early_stopping_steps``, as written; transformers sees them when the model has been loaded."""
    evaluates = is_set(given.get("eval_strategy")) and given["eval_strategy"] != "no"
    if not is_set(given.get("early_stopping_steps")) or (evaluates and is_set(given.get("load_best_model_at_end"))):
        return []
    needed = "eval_strategy: steps and load_best_model_at_end: true"
    return [f"early_stopping_steps stops by the evaluations' losses: it needs {needed}"]


def purpose_problems(given: Mapping[str, Any], training: bool) -> list[str]:
    """A recipe given to the command of another; of soft prompts that would be merged, `model_problems` tells."""
    if training and given.get("export_dir") is not None and given.get("finetuning_type") not in METHODS:
        return ["export_dir: this recipe merges; use `make merge` or `llamafactory-cli export`"]
    if not training and is_set(given.get("do_train")):
        return ["do_train: this recipe trains; use `make train` or `llamafactory-cli train`"]
    return []


def serving_doubts(finetuning_args: Any) -> list[str]:
    """What a user should know before training an adapter that vLLM will not serve."""
    if finetuning_args.finetuning_type != "lora":
        return []
    found = {
        "use_dora": finetuning_args.use_dora,
        "additional_target": finetuning_args.additional_target,
        "pissa_init": finetuning_args.pissa_init and not finetuning_args.pissa_convert,
    }
    return [
        f"{name}: vLLM serves no such adapter; after the training, merge it with `make merge`, and serve the folder "
        "that this writes: make serve ADAPTER=models/…"
        for name, given in found.items()
        if given
    ]


def length_problems(given: dict[str, Any]) -> list[str]:
    """Problems with `num_virtual_tokens` and its alias `pre_seq_len`."""
    lengths = {name: given[name] for name in ("num_virtual_tokens", "pre_seq_len") if given.get(name) is not None}
    problems = [
        f"{name}: {value} is not a positive whole number"
        for name, value in lengths.items()
        if not str(value).isdecimal() or int(value) < 1
    ]
    if len({str(value) for value in lengths.values()}) > 1:
        problems.append("num_virtual_tokens and pre_seq_len are the same setting: give only one of them")
    return problems


def encoder_problems(given: dict[str, Any], method: Method) -> list[str]:
    """Problems with the arguments of the MLP that produces a soft prompt."""
    problems = [
        f"{name}: not an argument of {method.name}; remove it"
        for name in ARGUMENTS
        if name in given and name not in method.arguments
    ]
    if not method.has_mlp(given) and given.get("prompt_encoder_hidden_size") is not None:
        when = f"only with {method.mlp}: true" if isinstance(method.mlp, str) else "never"
        problems.append(f"prompt_encoder_hidden_size: {method.name} has an MLP {when}")
    return problems


def zero_stage(deepspeed: Any) -> int | None:
    """The ZeRO stage of a DeepSpeed configuration (mapping, JSON text or file), None if there is none to read.

    Raises:
        UserError: the text or file is not JSON.
    """
    if isinstance(deepspeed, str) and deepspeed.lstrip().startswith("{"):
        try:
            deepspeed = decode_json(deepspeed)
        except ValueError as error:
            raise UserError(f"deepspeed: not JSON ({error}); correct it, or name a file") from None
    elif isinstance(deepspeed, str):
        path = Path(deepspeed)
        deepspeed = read_json(path, "name a DeepSpeed configuration") if path.is_file() else None
    zero = deepspeed.get("zero_optimization") if isinstance(deepspeed, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return stage if isinstance(stage, int) else None


def base_folder_problem(model: Any) -> str | None:
    """What is wrong with the base model's folder; None if the name may be a hub's, such as Qwen/Qwen2-7B-Instruct.

    A name is a hub's if it has its form, ORGANISATION/MODEL, and does not begin with a folder that exists here.
    """
    folder = Path(str(model))
    meant = folder.parts[:1] in [("models",), ("data",), ("saves",)] or Path(*folder.parts[:1]).is_dir()
    if not model or (HUB_ID.fullmatch(str(model)) and not meant) or (folder / "config.json").is_file():
        return None
    remedy = "run `make download`, name the folder of a base model, or ORGANISATION/MODEL of a hub"
    return f"model_name_or_path {model}: no model there (no config.json); {remedy}"


def model_problems(model_args: Any, finetuning_args: Any) -> list[str]:
    """Problems with exporting a soft prompt (`llamafactory-cli export`) and with the inference backend."""
    method = finetuning_args.finetuning_type
    problems = []
    if model_args.export_dir is not None:
        problems.append(
            f"export: {method} cannot be merged into the weights; use "
            + " and ".join(f"`{other.instead_of_merging}` for {other.name}" for other in METHODS.values())
        )
    if model_args.infer_backend != "huggingface":
        problems.append(
            f"infer_backend {model_args.infer_backend} does not support {method}; "
            "use `ner-model serve`, or infer_backend: huggingface"
        )
    return problems
