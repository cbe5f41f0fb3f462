"""Show what a model sees of a recipe's dataset, and which part carries the loss: ``ner-data preview RECIPE``.

Everything comes from llamafactory's own argument parser, loader, template and tokenizer: what it shows is exactly what
is trained on. Needs the train environment.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_common.commands import positive
from ner_common.errors import UserError, escaped, rooted
from ner_data.alpaca import REGISTRY, read_registry

IGNORED = -100  # the label id that carries no loss (PyTorch's cross-entropy default)


@dataclass(frozen=True, slots=True)
class Preview:
    """One record as the model sees it: its text, with ⟦ ⟧ around the part with loss, and both lengths in tokens."""

    text: str
    tokens: int
    trained: int


def preview(recipe: Path, *, overrides: Sequence[str] = (), count: int = 2, colour: bool = False) -> list[Preview]:
    """Show the first records of a recipe's dataset as the model sees them in training.

    Args:
        recipe: a ``recipes/MODEL/METHOD.yaml``.
        overrides: ``key=value`` as for llamafactory-cli.
        count: how many records, at most.
        colour: print what carries the loss in green.

    Raises:
        UserError: no such recipe, or a count below 1; or see `encode`.
    """
    if count < 1:
        raise UserError(f"{count} records: nothing to show; ask for 1 or more")
    if not recipe.is_file():
        raise UserError(f"{recipe}: no such recipe; see recipes/README.md")
    # llamafactory prints records too, but as lists of ids.
    os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")
    with redirect_stdout(io.StringIO()):
        tokenizer, records = encode(recipe, list(overrides), count)
    return [
        Preview(show(tokenizer, inputs, labels, colour), len(inputs), sum(label != IGNORED for label in labels))
        for inputs, labels in records
    ]


def show(tokenizer: Any, inputs: list[int], labels: list[int], colour: bool) -> str:
    """Decode a record, with ⟦ ⟧ around the tokens that carry the loss (and in green with ``colour``)."""
    opening, closing = ("\033[32m⟦", "⟧\033[0m") if colour else ("⟦", "⟧")
    parts = []
    start = 0
    for end in range(1, len(inputs) + 1):
        if end == len(inputs) or (labels[end] == IGNORED) != (labels[start] == IGNORED):
            text = tokenizer.decode(inputs[start:end], skip_special_tokens=False)
            parts.append(text if labels[start] == IGNORED else f"{opening}{text}{closing}")
            start = end
    return "".join(parts)


def encode(recipe: Path, overrides: list[str], count: int) -> tuple[Any, list[tuple[list[int], list[int]]]]:
    """Encode the first records as llamafactory does in training: (tokenizer, [(input ids, label ids)]).

    Raises:
        UserError: llamafactory is not installed here, the recipe names a dataset that is not registered, or
            llamafactory does not accept an argument.
    """
    try:
        from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
        from llamafactory.hparams import get_train_args
        from llamafactory.model import load_tokenizer
    except ImportError as error:
        needed = f"the train environment, with AUTOWRAPT_BOOTSTRAP=llamafactory_ner set ({error})"
        raise UserError(f"preview needs {needed}; run `make preview MODEL=… METHOD=… CORPUS=…`") from None
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        config: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(recipe), OmegaConf.from_cli(overrides)))
        _check_datasets(recipe, config)
        if config.get("finetuning_type") == "peft_lora":  # trained without llamafactory, on the same token ids
            config["finetuning_type"] = "lora"
        # Keep only what affects the encoding: write nothing, split nothing, start no logger.
        config |= {"max_samples": count, "val_size": 0.0, "preprocessing_num_workers": None, "report_to": "none"}
        config |= {"bf16": False, "fp16": False}  # refused where the recipe would not train
        config |= {
            "eval_strategy": "no",
            "do_eval": False,
            "load_best_model_at_end": False,
            "early_stopping_steps": None,
            "overwrite_cache": True,
        }
        model_args, data_args, training_args, _, _ = get_train_args(config)
        module = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
        dataset = get_dataset(template, model_args, data_args, training_args, stage="sft", **module)["train_dataset"]
    except (ValueError, TypeError, YAMLError, OmegaConfBaseException) as error:  # what llamafactory raises for a slip
        problem = escaped(str(error), 200)
        raise UserError(f"{rooted(recipe)}: {problem}; correct the recipe or the override") from None
    rows = [(list(row["input_ids"]), list(row["labels"])) for row in dataset.select(range(min(count, len(dataset))))]
    return module["tokenizer"], rows


def _check_datasets(recipe: Path, config: Any) -> None:
    """Refuse a dataset that is not registered in the recipe's ``dataset_dir``."""
    if not isinstance(config, dict):
        raise UserError(f"{rooted(recipe)}: must be a mapping of llamafactory's arguments; see recipes/README.md")
    folder = Path(str(config.get("dataset_dir") or "data"))
    registered = read_registry(folder)
    named = config.get("dataset") or ""
    for name in named if isinstance(named, list) else str(named).split(","):
        if str(name).strip() not in registered:
            problem = f"the dataset {str(name)!r} is not registered in {folder / REGISTRY}"
            raise UserError(f"{rooted(recipe)}: {problem}; run `make data`")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a recipes/MODEL/METHOD.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, as for llamafactory-cli")
    parser.add_argument(
        "--count", type=positive(int), default=2, help="how many records to show (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    shown = preview(args.recipe, overrides=args.overrides, count=args.count, colour=sys.stdout.isatty())
    for number, record in enumerate(shown, start=1):
        loss = f"{record.trained} of them carry the loss (between ⟦ and ⟧)"
        print(f"--- record {number}: {record.tokens} tokens, {loss}")
        print(record.text)
