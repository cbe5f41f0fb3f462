"""The recipe of a training with plain transformers and PEFT: ``recipes/MODEL/peft_lora.yaml``, checked.

Its keys are LLaMA-Factory's, so the recipes of a model can be compared line by line.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import fields, replace

from llamafactory_ner.checks.arguments import base_folder_problem, early_stopping_problems, tracker_problems
from llamafactory_ner.checks.configs import Line, read_adapter_config
from llamafactory_ner.checks.datasets import dataset_problems, split
from llamafactory_ner.checks.recipe import recipe_problems, template_problem
from llamafactory_ner.checks.sharing import sharing_problems
from llamafactory_ner.methods import PEFT_LORA
from llamafactory_ner.number_format import suited
from ner_common.decoding import convert, decode_yaml
from ner_common.errors import UserError, one_line, rooted
from ner_common.files import read_yaml

Count = Annotated[int, Meta(ge=1, le=1 << 40)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]
Rate = Annotated[float, Meta(gt=0, le=10)]
Text = Annotated[Line, Meta(min_length=1)]
When = Literal["no", "steps", "epoch"]
# What YAML reads as text, although LLaMA-Factory and Python read a number.
EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+")
WEIGHTS = re.compile(r"(adapter_model|model|pytorch_model).*\.(safetensors|bin)(\.index\.json)?")


class OfTheTrainer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What transformers' `TrainingArguments` gets as it is, by its names."""

    output_dir: Text
    logging_steps: Count = 10
    save_strategy: When = "steps"
    save_steps: Count = 500
    save_total_limit: Count | None = None
    report_to: str | list[str] = "none"
    seed: Annotated[int, Meta(ge=0, lt=1 << 32)] = 42
    data_seed: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    learning_rate: Rate = 1e-4
    weight_decay: Share = 0.0
    max_grad_norm: Amount = 1.0
    num_train_epochs: Amount = 3.0
    max_steps: Annotated[int, Meta(ge=-1, le=1 << 40)] = -1  # -1: by epochs
    lr_scheduler_type: Text = "linear"
    warmup_steps: Amount = 0  # below 1: a fraction of all steps
    bf16: bool = False
    fp16: bool = False
    use_cpu: bool = False
    ddp_timeout: Count = 1800
    per_device_eval_batch_size: Count = 8
    do_eval: bool = False
    eval_strategy: When = "no"
    eval_steps: Count | None = None
    load_best_model_at_end: bool = False  # the one with the lowest loss on the held-out records


class Recipe(OfTheTrainer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All keys of a recipe; those below are LLaMA-Factory's names."""

    model_name_or_path: Text
    finetuning_type: Literal["peft_lora"]
    lora_rank: Annotated[int, Meta(ge=1, le=4096)] = 8
    lora_alpha: Annotated[int, Meta(ge=1, le=1 << 20)] = 16
    lora_dropout: Share = 0.0
    lora_target: str | list[str] = "all"  # every linear layer but the output, or their names
    dataset_dir: Text = "data"
    dataset: str | list[str]
    template: Text  # that of model.yaml; the text is rendered with the model's own chat template
    enable_thinking: bool | None = None  # told to that template, if it is given
    cutoff_len: Count = 2048
    max_samples: Count | None = None
    val_size: Amount = 0.0  # below 1: a share
    plot_loss: bool = False
    overwrite_output_dir: bool = False
    share_prompt: bool = False
    share_prompt_attention: Literal["sdpa", "flex_attention"] = "sdpa"
    disable_gradient_checkpointing: bool = False
    early_stopping_steps: Count | None = None  # evaluations without a lower loss after which training ends

    def of_the_trainer(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(OfTheTrainer)}

    @property
    def evaluates(self) -> bool:
        return self.do_eval or self.eval_strategy != "no"


def read_recipe(path: Path, overrides: Sequence[str]) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe with its overrides (``key=value``), in the number format of this machine.

    Returns:
        The recipe, and the keys that were given with their values.

    Raises:
        UserError: it cannot be trained with; one line names all problems that are found together.
    """
    given = read_given(path, overrides)
    if (kind := given.get("finetuning_type")) != PEFT_LORA:
        problem = f"finetuning_type is {one_line(kind)}, which `llamafactory-cli train` trains"
        raise UserError(f"{rooted(path)}: {problem}; `ner-model train` takes finetuning_type: {PEFT_LORA}")
    try:
        recipe = convert(given, Recipe)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; correct the recipe or the override") from None
    if problems := [*recipe_problems(path), *_problems(recipe, given)]:
        raise UserError("; ".join(problems))
    told = {name: getattr(recipe, name) for name in ("bf16", "fp16", "use_cpu")}
    format = suited({"do_train": True, **told})
    chosen = {name: format[name] for name in told if format[name] != told[name]}
    return replace(recipe, **chosen), given | chosen


def read_given(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The keys of any recipe with its overrides (``key=value``), unchecked.

    Raises:
        UserError: the file is no mapping, or a word is no override.
    """
    given = read_yaml(path, "name a recipe, such as recipes/MODEL/peft_lora.yaml")
    if not isinstance(given, dict):
        raise UserError(f"{rooted(path)}: not a mapping of names to values; copy a recipe that works")
    return {name: _value(value) for name, value in (given | _overridden(overrides)).items()}


def _overridden(words: Sequence[str]) -> dict[str, Any]:
    """The values in ``key=value`` words, as YAML reads them."""
    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            values[name] = text if name.endswith("_strategy") else decode_yaml(text)  # in YAML, no is false
        except ValueError as error:
            raise UserError(f"{one_line(word)}: {error}; correct the override") from None
        if not equals:
            raise UserError(f"{one_line(word)}: not an override; write key=value")
    return values


def _value(value: Any) -> Any:
    """``1e-4`` as a number."""
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _problems(recipe: Recipe, given: dict[str, Any]) -> list[str]:
    """What does not fit together, and what is missing on this machine."""
    found = early_stopping_problems(given)
    if recipe.evaluates and not recipe.val_size:
        found.append("evaluation (do_eval, eval_strategy) needs held-out records: set val_size: 0.1")
    if not split(recipe.dataset):
        found.append("dataset names no data set")
    model = recipe.model_name_or_path
    found += filter(None, [base_folder_problem(model) or template_problem(model, recipe.template)])
    found += sharing_problems(given)
    return found + dataset_problems(given, recipe.dataset_dir) + tracker_problems(given)


def checkpoint_to_resume(recipe: Recipe) -> Path | None:
    """The last whole checkpoint in the output folder, from which training continues; None if it begins.

    Raises:
        UserError: the folder holds weights without a checkpoint, or a checkpoint of another LoRA.
    """
    folder = Path(recipe.output_dir)
    if recipe.overwrite_output_dir or not folder.is_dir():
        return None
    remedy = "set overwrite_output_dir=true, or name another output_dir"
    found = {path: re.fullmatch(r"checkpoint-([0-9]{1,12})", path.name) for path in folder.iterdir()}
    whole = {int(name[1]): path for path, name in found.items() if name and (path / "trainer_state.json").is_file()}
    if not whole:
        if there := sorted(path.name for path in found if WEIGHTS.fullmatch(path.name)):
            raise UserError(f"{rooted(folder)}: holds {there[0]} already, and no checkpoint to go on from; {remedy}")
        return None
    last = whole[max(whole)]
    config = read_adapter_config(last)
    if config is None or (config.r, config.lora_alpha) != (recipe.lora_rank, recipe.lora_alpha):
        was = f"with lora_rank {config.r} and lora_alpha {config.lora_alpha}" if config else "as no LoRA"
        raise UserError(f"{rooted(last)}: was trained {was}; train with that again, {remedy}")
    return last
