"""``ner-model download NAME``: a base model from ModelScope into ``models/NAME``, at a pinned revision."""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from ner_data.errors import UserError, rooted
from ner_data.files import read_json

MODELS = Path("models")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is published: ModelScope id, pinned revision, and the size of its files in GB (10^9 bytes)."""

    repository: str
    revision: str
    gigabytes: float


SOURCES = {
    "qwen2-7b": Source("Qwen/Qwen2-7B-Instruct", "master", 15.3),
    "qwen2.5-7b": Source("Qwen/Qwen2.5-7B-Instruct", "master", 15.3),
    "qwen2.5-0.5b": Source("Qwen/Qwen2.5-0.5B-Instruct", "master", 1.0),
    "chatglm3-6b": Source("ZhipuAI/chatglm3-6b", "master", 12.5),
}
# Only safetensors weights, and nothing that could be executed. tokenizer.model is chatglm3's SentencePiece file.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model", "LICENSE*", "MODEL_LICENSE*", "README.md"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=sorted(SOURCES))


def run(args: argparse.Namespace) -> None:
    source, folder = SOURCES[args.name], MODELS / args.name
    if is_complete(folder):
        print(f"{rooted(folder)}: already here")
        return
    remedy = f"put the files of {source.repository} (config, tokenizer, *.safetensors) into {rooted(folder)}"
    MODELS.mkdir(exist_ok=True)
    free = shutil.disk_usage(MODELS).free / 1e9
    if free < source.gigabytes * 1.1:
        need = f"{args.name} needs {source.gigabytes:.1f} GB, {free:.1f} GB are free"
        raise UserError(f"{rooted(folder)}: {need}; make room, or {remedy}")
    fetch(source, folder, remedy)
    if not is_complete(folder):
        raise UserError(f"{rooted(folder)}: files are missing after the download; run it again, or {remedy}")
    print(f"{rooted(folder)}: {source.repository} at revision {source.revision}")


def fetch(source: Source, folder: Path, remedy: str) -> None:
    """Download a model; files that are there whole are kept, partial ones are resumed (modelscope does both).

    Raises:
        UserError: modelscope is not installed here, or the hub cannot be reached.
    """
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise UserError(f"download needs the train environment ({error}); run `make download MODEL=…`") from None
    try:
        snapshot_download(source.repository, revision=source.revision, local_dir=str(folder), allow_patterns=WANTED)
    except Exception as error:
        # modelscope raises what requests, its API client and the file system raise: all of it ends here.
        problem = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise UserError(f"{source.repository}: cannot be downloaded ({problem}); {remedy}") from None


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a model: a config, and every weight file that its index names (or the only one)."""
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file():
        return False
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    names = set(read_json(index, "download the model again")["weight_map"].values())
    return all((folder / name).is_file() for name in names)
