"""``ner-model download NAME``: a base model from ModelScope into ``models/NAME``, its weights checked by SHA-256.

modelscope takes branches and tags as revisions, no commit ids (modelscope/modelscope#1386): what pins a model is the
checksum of its content.
"""

import argparse
import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_common.files import read_json

MODELS = Path("models")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is published: ModelScope id, branch, size of its files in GB (10^9 bytes), checksums of files."""

    repository: str
    gigabytes: float
    sha256: Mapping[str, str]
    revision: str = "master"


# The sums are those of the publishers' Git LFS records. Of chatglm3-6b we know only two; modelscope compares every
# file with the hub's own record besides.
SOURCES = {
    "qwen2-7b": Source(
        "Qwen/Qwen2-7B-Instruct",
        15.3,
        {
            "model-00001-of-00004.safetensors": "26d9919262ccd063fcdfd926763fe9025ef1e3073767aaa8c83a375d7c5140c4",
            "model-00002-of-00004.safetensors": "f5bb99fdadcac55c2c176497ec99f088a1764e78ed986fa4a0d45d12426ef0fa",
            "model-00003-of-00004.safetensors": "0b749a4446d7cda007d5e7bd9f908849d08d89867192d4c039dc167e9ab5a02e",
            "model-00004-of-00004.safetensors": "da724bb7d3c3512eb371aa6caa5bcc08d78bda84f94e00ae9a9b2124e3e9c62f",
        },
    ),
    "qwen2.5-7b": Source(
        "Qwen/Qwen2.5-7B-Instruct",
        15.3,
        {
            "model-00001-of-00004.safetensors": "a1333e6293854747c481288ea83b348226af178dd565c49b6f9495ba1966aba7",
            "model-00002-of-00004.safetensors": "f5d25a2772cb825164a2a2c0fb6d51a87e282abf21e4dd75bc5cfb3cd0ea6185",
            "model-00003-of-00004.safetensors": "8efdec4c1bc12317ae1a38dc42b595ce777738a64deea3fcb8a0a91381bcdfd5",
            "model-00004-of-00004.safetensors": "1a72d403cdf0c1ec3cb7f289f17b394a01e64394c2e9b3c0f94dbce3faf879bd",
        },
    ),
    "qwen2.5-0.5b": Source(
        "Qwen/Qwen2.5-0.5B-Instruct",
        1.0,
        {"model.safetensors": "fdf756fa7fcbe7404d5c60e26bff1a0c8b8aa1f72ced49e7dd0210fe288fb7fe"},
    ),
    "chatglm3-6b": Source(
        "ZhipuAI/chatglm3-6b",
        12.5,
        {
            "model-00001-of-00007.safetensors": "b1052386eac358a18add3d0f92521c85ab338979da8eeb08a6499555b857f80d",
            "tokenizer.model": "e7dc4c393423b76e4373e5157ddc34803a0189ba96b21ddbb40269d31468a6f2",
        },
    ),
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
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists():
        raise UserError(f"{rooted(folder)}: lacks files of {source.repository}; add them, or remove it and run again")
    fetch(source, part, remedy)
    if not is_complete(part) or not all((part / name).is_file() for name in source.sha256):
        raise UserError(f"{rooted(part)}: files are missing after the download; run it again, or {remedy}")
    check(part, source.sha256)
    part.rename(folder)
    print(f"{rooted(folder)}: {source.repository}, {len(source.sha256)} files as published (SHA-256)")


def fetch(source: Source, folder: Path, remedy: str) -> None:
    """Download a model; files that are there whole are kept, partial ones are resumed (modelscope does both).

    Raises:
        UserError: modelscope is not installed here, or the hub cannot be reached.
    """
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise UserError(f"download needs the train environment ({error}); run `make download MODEL=…`") from None
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)  # it logs every retry; the outcome is said below
    try:
        snapshot_download(source.repository, revision=source.revision, local_dir=str(folder), allow_patterns=WANTED)
    except Exception as error:
        # modelscope raises what requests, its API client and the file system raise: all of it ends here.
        cause = next(iter(getattr(error, "failed_files", {}).values()), error)
        problem = str(cause).splitlines()[0][:160] if str(cause) else type(cause).__name__
        raise UserError(f"{source.repository}: cannot be downloaded ({problem}); {remedy}") from None


def check(folder: Path, sums: Mapping[str, str]) -> None:
    """Compare files with their SHA-256, with progress; one that differs is removed, so that it is downloaded anew.

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
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file():
        return False
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    names = set(read_json(index, "download the model again")["weight_map"].values())
    return all((folder / name).is_file() for name in names)
