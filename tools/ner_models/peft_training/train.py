"""Train a LoRA adapter with plain transformers and PEFT: ``ner-model train recipes/MODEL/peft_lora.yaml``.

The same files, prompt, shared rows, held-out records and output folder as with llamafactory-cli and our plugin, so the
adapter is served, selected, merged and evaluated like any other. llamafactory itself is not imported.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.datasets import split
from llamafactory_ner.checks.refusal import stop, user_errors_in_one_line, warn
from llamafactory_ner.checks.sharing import sharing_doubts
from llamafactory_ner.number_format import in_format
from llamafactory_ner.progress import reporter
from llamafactory_ner.shared_rows import shared_row
from llamafactory_ner.tracking import begin_runs
from llamafactory_ner.training_data import TrainingData
from llamafactory_ner.tuner import training_recorder
from llamafactory_ner.workflow import read_shared_rows, refuse_config
from ner_common.errors import escaped
from ner_common.files import share_weights
from ner_common.weights import check_weights
from ner_models.peft_training.recipe import Recipe, checkpoint_to_resume, read_recipe
from ner_models.peft_training.records import encoded, hold_out, load_chats

PACKAGES = ("transformers", "peft", "torch")


def train(path: Path, overrides: Sequence[str] = ()) -> None:
    """Train by a recipe; everything that a user can get wrong is refused before the model is loaded."""
    recipe, given = read_recipe(path, overrides)
    if (base := Path(recipe.model_name_or_path)).is_dir():
        check_weights(base, "download the model again, or convert its weights to safetensors")
    start_processes(recipe)
    from transformers import AutoConfig, AutoTokenizer, EarlyStoppingCallback, Trainer

    checkpoint = checkpoint_to_resume(recipe)
    args = trainer_arguments(recipe, checkpoint)
    for doubt in sharing_doubts(recipe):
        warn(doubt)
    if recipe.share_prompt:
        config = AutoConfig.from_pretrained(recipe.model_name_or_path)
        refuse_config(config, recipe.model_name_or_path, recipe.cutoff_len)

    data = TrainingData()
    tokenizer = AutoTokenizer.from_pretrained(recipe.model_name_or_path)
    with args.main_process_first(desc="reading the data sets"):
        chats = load_chats(recipe, data)
        data.check(args)
        parts = hold_out(chats, recipe, data)
        records = [part and encoded(part, tokenizer, recipe) for part in parts]

    begin_runs(args)
    model = lora_model(recipe)
    callbacks = [training_recorder(str(path), given, data, PACKAGES), *reporter()]
    if recipe.early_stopping_steps:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping_steps))
    trainer = Trainer(
        model,
        args,
        collator(recipe, tokenizer),
        *records,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    result = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    if recipe.evaluates:
        trainer.save_metrics("eval", trainer.evaluate())
    if recipe.plot_loss and trainer.is_world_process_zero():
        plot_losses(trainer.state.log_history, Path(recipe.output_dir, "training_loss.png"))
    share_weights(Path(recipe.output_dir))


def start_processes(recipe: Recipe) -> None:
    """Start this program again under torchrun if it has several GPUs, as llamafactory-cli does, by its variables.

    Those are FORCE_TORCHRUN, NPROC_PER_NODE, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.
    """
    import torch

    asked, count = os.environ.get, torch.cuda.device_count()
    forced = asked("FORCE_TORCHRUN", "0").lower() in ("1", "true", "y")
    if "LOCAL_RANK" in os.environ or not (forced or (count > 1 and not recipe.use_cpu)):
        return
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", asked("NPROC_PER_NODE", str(max(count, 1)))]
    if (nodes := asked("NNODES", "1")) == "1":
        torchrun.append("--standalone")
    else:
        address, port = asked("MASTER_ADDR", "127.0.0.1"), asked("MASTER_PORT", "29500")
        torchrun += ["--nnodes", nodes, "--node-rank", asked("NODE_RANK", "0")]
        torchrun += ["--master-addr", address, "--master-port", port]
    os.execv(sys.executable, [sys.executable, *torchrun, *sys.argv])  # noqa: S606


def trainer_arguments(recipe: Recipe, checkpoint: Path | None) -> Any:
    """transformers' arguments; sets the seed of all random numbers."""
    from transformers import TrainingArguments, set_seed

    try:
        args = TrainingArguments(
            **recipe.of_the_trainer(),
            gradient_checkpointing=not recipe.disable_gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            resume_from_checkpoint=str(checkpoint) if checkpoint else None,
            label_names=["labels"],
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,
        )
    except (ValueError, ImportError) as error:  # such as bf16 on a card without it, or an unknown scheduler
        stop(f"{escaped(str(error), 300)}; correct the recipe or the override")
    set_seed(args.seed)
    return args


def lora_model(recipe: Recipe) -> Any:
    """The frozen base model with new LoRA layers, whose weights are float32."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(recipe.model_name_or_path, dtype="auto", use_safetensors=True)
    wanted = torch.bfloat16 if recipe.bf16 else torch.float16 if recipe.fp16 else torch.float32
    model = in_format(model, wanted, frozen=True, on_cpu=recipe.use_cpu or not torch.accelerator.is_available())
    model.config.use_cache = False
    targets = split(recipe.lora_target)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules="all-linear" if targets == ["all"] else targets,
    )
    try:
        model = get_peft_model(model, config)
    except ValueError as error:
        stop(f"lora_target: {escaped(str(error), 200)}; set lora_target: all")
    if recipe.share_prompt:
        read_shared_rows(model, recipe.share_prompt_attention)
    return model


def collator(recipe: Recipe, tokenizer: Any) -> Any:
    """What makes a batch of records: one row that shares their prompt, or padded rows."""
    from transformers import DataCollatorForSeq2Seq

    return shared_row if recipe.share_prompt else DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8)


def plot_losses(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the losses of training and evaluation by step."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    for name in ("loss", "eval_loss"):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axes.plot([step for step, _ in points], [loss for _, loss in points], label=name)
    axes.set_xlabel("step")
    axes.legend()
    figure.savefig(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a recipes/MODEL/peft_lora.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the recipe's values")


def run(args: argparse.Namespace) -> None:
    with user_errors_in_one_line():
        train(args.recipe, args.overrides)
