"""``ner-model quantize``: a merged or fully fine-tuned model in fewer bits, as a folder of its own that vLLM loads.

Linear layers are quantised; embeddings, norms and the output layer keep their format. The checkpoint is in the format
of compressed-tensors, which vLLM recognises by itself. Everything is checked before the model is loaded.
"""

import argparse
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from llamafactory_ner.checks.configs import MODEL_CONFIG, ModelConfig, read_model_config
from ner_common.adapters import ADAPTER_CONFIG, CALIBRATION
from ner_common.commands import positive
from ner_common.errors import UserError, rooted
from ner_common.files import check_free, whole_folder
from ner_common.machine import gpu_capabilities, installed
from ner_common.training_record import FILE_NAME as TRAINING
from ner_common.training_record import Quantized, add_to_record, load_training_record, now
from ner_common.weights import INDEX, check_weights
from ner_data.corpus import load_corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_models.schemes import AWQ, INT8, SCHEMES, obstacle, stored_scheme

SAMPLES, LENGTH = 256, 512  # what llmcompressor's documentation starts with
GROUPS = (128, 64, 32)  # weights that share a scale: the sizes for which vLLM has kernels, best first
SEED = 0
# Not copied: what is written here, weights in any format, what Ollama is told of them, what their scores are worth.
NOT_COPIED = {MODEL_CONFIG, INDEX, "Modelfile", CALIBRATION}
WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".gguf"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, shown = parser.add_argument, "(default: %(default)s)."
    add("source", type=Path, metavar="MODEL", help="The folder of a merged or fully fine-tuned model.")
    add("target", type=Path, metavar="OUT", help="The folder to write; it must not exist yet.")
    described = "; ".join(f"{name}: {text}" for name, text in SCHEMES.items())
    add("--scheme", choices=list(SCHEMES), required=True, help=f"{described}.")
    add("--samples", type=positive(int), default=SAMPLES, metavar="N",
        help=f"Calibrate on N records of train, drawn with a fixed seed (awq only) {shown}")  # fmt: skip
    add("--length", type=positive(int), default=LENGTH, metavar="N",
        help=f"Cut what is calibrated on after N tokens {shown}")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    done = quantize(args.source, args.target, args.scheme, samples=args.samples, length=args.length)
    print(f"{rooted(args.target)}: {done}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What 4-bit weights are fitted to: records of train in the prompt that the model was trained with.

    Attributes:
        length: how many tokens of a record are used.
        group: how many weights share a scale.
    """

    prompt: PromptSpec
    records: list[Record]
    length: int
    group: int


def quantize(source: Path, target: Path, scheme: str, *, samples: int = SAMPLES, length: int = LENGTH) -> Quantized:
    """Write a quantised copy of a model into a new folder, with the prompt spec and the training record of the model.

    Args:
        source: the folder of a whole model; its ``ner_prompt.json`` names the corpus to calibrate on.
        target: the new folder.
        scheme: one of `SCHEMES`.
        samples, length: how many records to calibrate on, and how many tokens of each; for schemes that need it.

    Raises:
        UserError: the target exists; the source is an adapter, is quantised already, or has no or damaged weights; a
            layer's width is no multiple of a group; too few records to calibrate on; too little disk space.
    """
    check_free(target)
    config = check_source(source)
    used = calibration(source, samples, length, group_size(source, config)) if scheme == AWQ else None
    if (source / TRAINING).is_file():
        load_training_record(source, "restore the file, or remove it")
    before = check_room(source, target)
    if installed("llmcompressor") is None:
        raise UserError("llmcompressor is not installed here; `make quantize` builds its environment")
    if problem := obstacle(scheme, None, on_cpu=not gpu_capabilities()):
        print(f"note: this machine cannot serve the result: {problem}", flush=True)
    from ner_models.compression import compress

    with whole_folder(target) as unfinished:
        compress(source, unfinished, used)
        copy_the_rest(source, unfinished)
        done = Quantized(
            scheme=scheme,
            group=used.group if used else 0,
            samples=len(used.records) if used else 0,
            bytes=size_of(unfinished),
            bytes_before=before,
            at=now(),
        )
        if (unfinished / TRAINING).is_file():
            add_to_record(unfinished, quantized=done)
    return done


def check_source(source: Path) -> ModelConfig:
    """The configuration of a whole model that is not quantised yet.

    Raises:
        UserError: it is something else.
    """
    if (source / ADAPTER_CONFIG).is_file():
        raise UserError(f"{rooted(source)}: is an adapter; merge it with `make merge`, and quantise models/NAME")
    config = read_model_config(source)
    if config is None:
        raise UserError(f"{rooted(source)}: no model there (no {MODEL_CONFIG}); merge an adapter with `make merge`")
    if config.quantization_config:
        kind = stored_scheme(config) or str(config.quantization_config.get("quant_method", "unknown"))[:40]
        raise UserError(f"{rooted(source)}: is quantised already ({kind}); quantise the model that it was made of")
    check_weights(source, "merge or train the model again")
    return config


def group_size(source: Path, config: ModelConfig) -> int:
    """The largest of `GROUPS` that divides the inputs of all linear layers.

    Raises:
        UserError: none does.
    """
    heads = config.num_attention_heads or 1
    hidden = config.hidden_size or 0
    widths = {hidden, config.intermediate_size or hidden, (config.head_dim or hidden // heads) * heads}
    for group in GROUPS:
        if not any(width % group for width in widths):
            return group
    shown = ", ".join(map(str, sorted(widths)))
    problem = f"no group of {GROUPS[-1]} weights or more divides its widths ({shown})"
    raise UserError(f"{rooted(source)}: {problem}; use {INT8}")


def calibration(source: Path, samples: int, length: int, group: int) -> Calibration:
    """Records of the training split of the corpus that a model was trained on, drawn with a fixed seed.

    Raises:
        UserError: the model does not say how it is asked, or there are fewer records.
    """
    remedy = "merge the adapter with `make merge`, which puts it there, or copy data/alpaca/CORPUS.prompt.json to it"
    prompt = PromptSpec.load(source / FILE_NAME, remedy)
    path = load_corpus(prompt.corpus).gold_file("train")
    records = [record for record in read_gold(path) if record.entities is not None]
    if len(records) < samples:
        problem = f"has {len(records):,} records with gold, fewer than the {samples:,} to calibrate on"
        remedy = f'ask for fewer: --samples {len(records)} (make: ARGS="--samples …")'
        raise UserError(f"{rooted(path)}: {problem}; {remedy}")
    return Calibration(prompt, random.Random(SEED).sample(records, samples), length, group)


def check_room(source: Path, target: Path) -> int:
    """The size of a model's weights in bytes; refuses to start if as much again would not fit on the disk."""
    needed, folder = size_of(source), target.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(f"{rooted(target)}: needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room")
    return needed


def size_of(folder: Path) -> int:
    """The bytes of a folder's weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def copy_the_rest(source: Path, target: Path) -> None:
    """Copy what a model comes with: tokenizer, chat template, prompt spec, records of its training, licences."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in NOT_COPIED and path.suffix not in WEIGHT_FILES:
            shutil.copyfile(path, target / path.name)
