"""Hook of `llamafactory.hparams.parser`: refuse what cannot work, in one line and before any model loads."""

import copy
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from llamafactory_ner.checks.adapters import adapter_problems, export_problems, training_problems
from llamafactory_ner.checks.arguments import (
    argument_problems,
    base_folder_problem,
    early_stopping_problems,
    model_problems,
    purpose_problems,
    quantization_problems,
    serving_doubts,
    sharding_problems,
    tracker_problems,
)
from llamafactory_ner.checks.base_model import base_doubt
from llamafactory_ner.checks.configs import read_adapter_config
from llamafactory_ner.checks.datasets import dataset_problems
from llamafactory_ner.checks.recipe import recipe_problems, template_problem
from llamafactory_ner.checks.refusal import note, stop, user_errors_in_one_line, warn
from llamafactory_ner.checks.sharing import sharing_doubts, sharing_problems
from llamafactory_ner.methods import METHODS
from llamafactory_ner.number_format import suited
from llamafactory_ner.tracking import begin_runs


def hook(module: ModuleType) -> None:
    """Wrap the three functions through which every llamafactory command reads its arguments."""
    module._parse_args = _checking_arguments(module)  # type: ignore[attr-defined]
    module._verify_model_args = _checking_model(module._verify_model_args)  # type: ignore[attr-defined]
    module.get_train_args = _with_lora_defaults(module.get_train_args)  # type: ignore[attr-defined]


def _refuse(problems: list[str]) -> None:
    if problems:
        stop("; ".join(problems))


def _checking_arguments(module: ModuleType) -> Callable[..., Any]:
    original = module._parse_args

    @wraps(original)
    def parse_args(parser: Any, args: Any = None, allow_extra_keys: bool = False) -> Any:
        args = checked_recipe(module) if args is None else args
        with user_errors_in_one_line():
            given, trains = as_mapping(args), module.TrainingArguments in parser.dataclass_types
            if module.FinetuningArguments in parser.dataclass_types:
                _refuse(purpose_problems(given, trains))
                _refuse(argument_problems(given, lora_only_arguments()) + sharing_problems(given))
            if trains:
                problems = dataset_problems(given, module.DataArguments.dataset_dir) + quantization_problems(given)
                problems += early_stopping_problems(given)
                _refuse(problems + tracker_problems(given) + sharding_problems(given))
        return original(parser, args, allow_extra_keys=allow_extra_keys)

    return parse_args


def checked_recipe(module: Any) -> dict[str, Any] | list[str]:
    """What llamafactory reads from the command line, in the machine's number format; the recipe is checked first."""
    if recipe := recipe_of(sys.argv):
        with user_errors_in_one_line():
            if not Path(recipe).is_file():
                stop(f"{recipe}: no such recipe; name a file, such as recipes/MODEL/METHOD.yaml")
            _refuse(recipe_problems(Path(recipe)))
    args: dict[str, Any] | list[str] = module.read_args()
    return suited(args) if isinstance(args, dict) else args


def as_mapping(args: dict[str, Any] | list[str]) -> dict[str, Any]:
    """The given arguments by name: a recipe's mapping unchanged, or the `--name value` pairs of a command line."""
    if isinstance(args, dict):
        return args
    given: dict[str, Any] = {}
    for position, word in enumerate(args):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            following = args[position + 1 : position + 2]
            given[name.replace("-", "_")] = value if equals else (following[0] if following else "true")
    return given


def recipe_of(words: list[str]) -> str | None:
    """The YAML or JSON file that llamafactory reads its arguments from, None if they are all on the command line."""
    return words[1] if words[1:] and words[1].endswith((".yaml", ".yml", ".json")) else None


def lora_only_arguments() -> set[str]:
    """The names of llamafactory's arguments for LoRA, OFT and freeze training: none of them acts on a soft prompt."""
    from dataclasses import fields

    from llamafactory.hparams.finetuning_args import FreezeArguments, LoraArguments, OFTArguments

    kinds = (LoraArguments, OFTArguments, FreezeArguments)
    return {field.name for kind in kinds for field in fields(kind)}


def _checking_model(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def verify_model_args(model_args: Any, data_args: Any, finetuning_args: Any) -> None:
        model, template = model_args.model_name_or_path, data_args.template
        with user_errors_in_one_line():
            if problem := base_folder_problem(model) or template_problem(model, template):
                stop(problem)
            _refuse(adapter_problems(model_args, finetuning_args) + export_problems(model_args))
            for adapter in model_args.adapter_name_or_path or []:
                config = read_adapter_config(Path(adapter))
                if config and (doubt := base_doubt(adapter, config, model)):
                    warn(doubt)
        if finetuning_args.finetuning_type in METHODS:
            _refuse(model_problems(model_args, finetuning_args))
            finetuning_args = copy.copy(finetuning_args)
            finetuning_args.finetuning_type = "lora"  # the host allows adapters and quantised bases for LoRA only
        original(model_args, data_args, finetuning_args)

    return verify_model_args


def _with_lora_defaults(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def get_train_args(args: Any = None) -> Any:
        parsed = original(args)
        model_args, data_args, training_args, finetuning_args, _ = parsed
        for doubt in sharing_doubts(finetuning_args):
            warn(doubt)
        for doubt in serving_doubts(finetuning_args) if training_args.do_train else []:
            note(doubt)
        if finetuning_args.finetuning_type in METHODS:
            with user_errors_in_one_line():
                _refuse(training_problems(model_args, data_args, training_args, finetuning_args))
            training_args.label_names = training_args.label_names or ["labels"]
            if training_args.ddp_find_unused_parameters is None:
                training_args.ddp_find_unused_parameters = False
        if training_args.fsdp:
            if training_args.device.type == "cpu":
                warn("fsdp: on a CPU, accelerate leaves the whole model in every process; remove it")
            as_accelerate_launches(training_args.fsdp_config)
        if training_args.do_train:
            begin_runs(training_args)
        return parsed

    return get_train_args


def as_accelerate_launches(fsdp_config: Mapping[str, Any]) -> None:
    """Say in the environment that FSDP is on, as `accelerate launch` does; llamafactory and accelerate read it there.

    Without it, accelerate saves FSDP2's parameters in pieces, and no adapter or model that could be served.
    """
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    os.environ["FSDP_VERSION"] = str(fsdp_config.get("version", 1))
    os.environ.setdefault("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
