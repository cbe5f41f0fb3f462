"""Hook of `llamafactory.train.tuner`: check the training data, and record prompt and settings when training starts."""

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from llamafactory_ner.checks.datasets import split
from llamafactory_ner.checks.refusal import user_errors_in_one_line, warn
from llamafactory_ner.parser import as_mapping, checked_recipe, recipe_of
from llamafactory_ner.progress import reporter
from llamafactory_ner.prompts import FILE_NAME, store_prompt
from llamafactory_ner.tracking import tracked_runs
from llamafactory_ner.training_data import TrainingData
from ner_common.adapters import STATE
from ner_common.errors import UserError
from ner_common.files import share_weights, write_json
from ner_common.held_out import FILE_NAME as HELD_OUT
from ner_common.held_out import HeldOut, read_held_out, write_held_out
from ner_common.training_record import FILE_NAME as TRAINING
from ner_common.training_record import write_training_record

PACKAGES = ("llamafactory", "transformers", "peft", "torch")
# hf_hub_token, swanlab_api_key, swanlab_lark_webhook_url, swanlab_lark_secret: adapters get shared.
SECRET = ("_token", "_key", "_secret", "_url")


def hook(module: ModuleType) -> None:
    """Make `run_exp`, which every training goes through, watch its data and write what an adapter must come with."""
    original = module.run_exp

    @wraps(original)
    def run_exp(args: Any = None, callbacks: list[Any] | None = None) -> None:
        recipe = recipe_of(sys.argv) if args is None else None
        args = checked_recipe(module) if args is None else args
        arguments = {name: value for name, value in as_mapping(args).items() if not name.endswith(SECRET)}
        data = TrainingData()
        with data.watched():
            original(args, [*(callbacks or []), training_recorder(recipe, arguments, data), *reporter()])
        share_weights(Path(str(arguments.get("output_dir"))))

    module.run_exp = run_exp  # type: ignore[attr-defined]
    module.export_model = _with_records(module)  # type: ignore[attr-defined]


def _with_records(module: Any) -> Callable[..., None]:
    """Give a merged model the prompt to ask it with, and the records of how its adapter was trained."""

    original = module.export_model

    @wraps(original)
    def export_model(args: Any = None) -> None:
        args = checked_recipe(module) if args is None else args
        original(args)
        given = as_mapping(args)
        folder = Path(str(given.get("export_dir")))
        share_weights(folder)
        for adapter in filter(None, split(given.get("adapter_name_or_path"))[-1:]):
            for name in (FILE_NAME, TRAINING, HELD_OUT, STATE):
                if (record := Path(adapter, name)).is_file() and folder.is_dir():
                    shutil.copyfile(record, folder / name)

    return export_model


def store_held_out(folder: Path, held_out: HeldOut | None, resumes: bool) -> str | None:
    """Record which records the training holds out; returns a note if that is not one set of records any more.

    A resumed training goes on recording only what it began with: it may have trained on a record that is held out now.
    """
    before = None
    if resumes:
        with suppress(UserError):
            before = read_held_out(folder, "train again")
        if held_out and held_out == before:
            return None
    recorded = (folder / HELD_OUT).exists()
    (folder / HELD_OUT).unlink(missing_ok=True)
    if held_out and not resumes:
        write_held_out(folder, held_out)
    what = "the records that are held out are not those of before the interruption"
    remedy = "`make select` needs a training from the start"
    return f"{folder}: {what}; {remedy}" if resumes and recorded else None


def training_recorder(
    recipe: str | None, arguments: Mapping[str, Any], data: TrainingData, packages: tuple[str, ...] = PACKAGES
) -> Any:
    """A Trainer callback that writes ``ner_training.json`` and ``ner_prompt.json``, in the first process only."""
    from transformers import TrainerCallback

    class TrainingRecorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not state.is_world_process_zero:
                return
            folder = Path(args.output_dir)
            with user_errors_in_one_line():
                if note := store_prompt(folder, data.prompt and data.prompt.told(arguments)):
                    warn(note)
                if not data.checked:
                    warn(f"the data were encoded earlier, so their prompt is unknown and {folder} gets no {FILE_NAME}")
                if note := store_held_out(folder, data.held_out, data.resumes):
                    warn(note)
                write_training_record(folder, recipe, arguments, packages, tracked_runs(folder, args.report_to))

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
            if state.is_world_process_zero and data.prompt and checkpoint.is_dir():
                write_json(checkpoint / FILE_NAME, dict(data.prompt.told(arguments).value))

    return TrainingRecorder()
