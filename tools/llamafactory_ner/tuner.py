"""Hook of `llamafactory.train.tuner`: when training starts, record its settings in the adapter's folder."""

import sys
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from llamafactory_ner.parser import as_mapping
from ner_common.training_record import write_training_record

PACKAGES = ("llamafactory", "transformers", "peft", "torch")
# hf_hub_token, swanlab_api_key, swanlab_lark_webhook_url, swanlab_lark_secret: adapters get shared.
SECRET = ("_token", "_key", "_secret", "_url")


def hook(module: ModuleType) -> None:
    """Make `run_exp`, which every training goes through, write ``ner_training.json`` before the first step."""
    original = module.run_exp

    @wraps(original)
    def run_exp(args: Any = None, callbacks: list[Any] | None = None) -> None:
        recipe = recipe_of(sys.argv) if args is None else None
        args = module.read_args(args)
        arguments = {name: value for name, value in as_mapping(args).items() if not name.endswith(SECRET)}
        original(args, [*(callbacks or []), training_recorder(recipe, arguments)])

    module.run_exp = run_exp  # type: ignore[attr-defined]


def recipe_of(words: list[str]) -> str | None:
    """The YAML or JSON file that llamafactory reads its arguments from, None if they are all on the command line."""
    return words[1] if words[1:] and words[1].endswith((".yaml", ".yml", ".json")) else None


def training_recorder(recipe: str | None, arguments: Mapping[str, Any]) -> Any:
    """A Trainer callback that writes the record once, in the first process only."""
    from transformers import TrainerCallback

    class TrainingRecorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                write_training_record(Path(args.output_dir), recipe, arguments, PACKAGES)

    return TrainingRecorder()
