"""``ner-model download NAME``: fetch a base model from ModelScope into ``models/NAME`` and check its weights.

``recipes/NAME/model.yaml`` (`base_models`) says where the model comes from, and what happens after the download.
modelscope accepts branches and tags as revisions, but not commit ids (modelscope/modelscope#1386), so checksums of the
files pin a model.
"""

import argparse
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_common.weights import INDEX, SINGLE, indexed_files
from ner_models.base_models import FILE_NAME, MODELS, RECIPES, BaseModel, load_base_model
from ner_models.chatglm3.convert import Conversion, convert

# Only safetensors weights, and nothing that could be executed. tokenizer.model is a SentencePiece vocabulary.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model", "LICENSE*", "MODEL_LICENSE*", "README.md"]
# Values of `after_download`, and the functions they name: (downloaded folder, folder of weights) -> what was done.
AFTER_DOWNLOAD: dict[str, Callable[[Path, Path], Conversion]] = {"convert-chatglm3": convert}


@dataclass(frozen=True, slots=True)
class Download:
    """What `download` did: whether files were fetched (or were already there), and the conversion that followed."""

    model: BaseModel
    fetched: bool
    conversion: Conversion | None = None


def download(name: str) -> Download:
    """Fetch a base model unless it is already there, check it, and run its ``after_download``.

    Raises:
        UserError: no such model, a missing model without a source, too little disk space, an incomplete folder of that
            name, ModelScope cannot be reached, a checksum differs, or the step after the download fails.
    """
    model = load_base_model(name)
    if model.source is None:
        if not is_complete(model.weights):
            remedy = f"put its files there, or add source to {RECIPES / name / FILE_NAME}"
            raise UserError(f"{rooted(model.weights)}: no model there; {remedy}")
        return Download(model, fetched=False)
    if model.after_download and model.after_download not in AFTER_DOWNLOAD:
        problem = f"after_download: {model.after_download} is not one of {', '.join(AFTER_DOWNLOAD)}"
        raise UserError(f"{RECIPES / name / FILE_NAME}: {problem}; correct it")
    fetched = not is_complete(model.downloaded)
    if fetched:
        fetch_whole(model, model.source)
    conversion = None
    if model.after_download and not model.weights.is_dir():
        conversion = AFTER_DOWNLOAD[model.after_download](model.downloaded, model.weights)
    return Download(model, fetched, conversion)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="The base model: a folder of recipes/ with a model.yaml.")


def run(args: argparse.Namespace) -> None:
    done = download(args.name)
    if done.fetched:
        files = f"{len(done.model.sha256)} files as published (SHA-256)"
        print(f"{rooted(done.model.downloaded)}: {done.model.source}, {files}")
    else:
        print(f"{rooted(done.model.downloaded if done.model.source else done.model.weights)}: already here")
    if done.conversion:
        print(done.conversion)


def fetch_whole(model: BaseModel, source: str) -> None:
    """Download a model into its folder, which appears only once it has all files with the right checksums.

    Raises:
        UserError: see `download`.
    """
    folder = model.downloaded
    remedy = f"put the files of {source} (config, tokenizer, *.safetensors) into {rooted(folder)}"
    MODELS.mkdir(exist_ok=True)
    free = shutil.disk_usage(MODELS).free / 1e9
    if free < model.gigabytes * 1.1:
        need = f"{model.name} needs {model.gigabytes:.1f} GB, {free:.1f} GB are free"
        raise UserError(f"{rooted(folder)}: {need}; make room, or {remedy}")
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists():
        raise UserError(f"{rooted(folder)}: lacks files of {source}; add them, or remove it and run again")
    fetch(source, model.revision, part, remedy)
    if not is_complete(part) or not all((part / name).is_file() for name in model.sha256):
        raise UserError(f"{rooted(part)}: files are missing after the download; run it again, or {remedy}")
    check(part, model.sha256)
    part.rename(folder)


def fetch(source: str, revision: str, folder: Path, remedy: str) -> None:
    """Download a model; complete files are kept and partial ones resumed (modelscope does both).

    Raises:
        UserError: modelscope is not installed here, or the hub cannot be reached.
    """
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise UserError(f"download needs the train environment ({error}); run `make download MODEL=…`") from None
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)  # it logs every retry; we report the outcome
    try:
        snapshot_download(source, revision=revision, local_dir=str(folder), allow_patterns=WANTED)
    except Exception as error:
        # Errors of requests, of modelscope's API client and of the file system all arrive here.
        cause = next(iter(getattr(error, "failed_files", {}).values()), error)
        problem = str(cause).splitlines()[0][:160] if str(cause) else type(cause).__name__
        raise UserError(f"{source}: cannot be downloaded ({problem}); {remedy}") from None


def check(folder: Path, sums: Mapping[str, str]) -> None:
    """Compare files with their SHA-256, with progress; one that differs is removed: the next run downloads it again.

    Raises:
        UserError: a file differs.
    """
    from tqdm import tqdm

    total = sum((folder / name).stat().st_size for name in sums)
    with tqdm(total=total, unit="B", unit_scale=True, desc="checking SHA-256") as bar:
        for name, expected in sums.items():
            digest = hashlib.sha256()
            with (folder / name).open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
                    bar.update(len(block))
            if digest.hexdigest() != expected:
                (folder / name).unlink()
                problem = f"sha256 is {digest.hexdigest()}, expected {expected}; the file was removed"
                raise UserError(f"{rooted(folder / name)}: {problem}: run the download again")


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a model: a config, and every weight file that its index names (or the only one)."""
    index = folder / INDEX
    if not (folder / "config.json").is_file():
        return False
    if not index.is_file():
        return (folder / SINGLE).is_file()
    return all((folder / name).is_file() for name in indexed_files(index, "download the model again"))
