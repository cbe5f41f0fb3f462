"""``ner-model download NAME``: fetch a base model from a hub or a folder into ``models/NAME`` and check its weights.

``recipes/NAME/model.yaml`` (`base_models`) says where the model comes from, and what happens after the download.
modelscope accepts branches and tags as revisions, but not commit ids (modelscope/modelscope#1386), so checksums of the
files pin a model, wherever it comes from.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ner_common.errors import UserError, one_line, rooted
from ner_common.files import whole_folder
from ner_common.weights import INDEX, SINGLE, indexed_files
from ner_models.base_models import FILE_NAME, MODELS, RECIPES, BaseModel, load_base_model
from ner_models.chatglm3.convert import Conversion, convert
from ner_models.hubs import HUBS, digest

# Only safetensors weights, and nothing that could be executed. tokenizer.model is a SentencePiece vocabulary.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model", "LICENSE*", "MODEL_LICENSE*", "README.md"]
# Values of `after_download`, and the functions they name: (downloaded folder, folder of weights) -> what was done.
AFTER_DOWNLOAD: dict[str, Callable[[Path, Path], Conversion]] = {"convert-chatglm3": convert}


@dataclass(frozen=True, slots=True)
class Download:
    """What `download` did: where files came from (None: they were there already), and the conversion after it."""

    model: BaseModel
    fetched: str | None
    conversion: Conversion | None = None


def download(name: str, origin: str = "modelscope") -> Download:
    """Fetch a base model unless it is already there, check it, and run its ``after_download``.

    Args:
        name: a folder of recipes/ with a model.yaml.
        origin: one of `HUBS`, or a folder that holds the model's files.

    Raises:
        UserError: no such model, a missing model without a source, too little disk space, an incomplete folder of
            that name, an origin that cannot be reached or lacks files, another checksum, or a failed step after it.
    """
    model = load_base_model(name)
    if model.source is None:
        if not is_complete(model.weights):
            remedy = f"put its files there, or add source to {RECIPES / name / FILE_NAME}"
            raise UserError(f"{rooted(model.weights)}: no model there; {remedy}")
        return Download(model, None)
    if model.after_download and model.after_download not in AFTER_DOWNLOAD:
        problem = f"after_download: {model.after_download} is not one of {', '.join(AFTER_DOWNLOAD)}"
        raise UserError(f"{RECIPES / name / FILE_NAME}: {problem}; correct it")
    fetched = None
    if not is_complete(model.downloaded):
        fetched = fetch_whole(model, model.source, origin)
    conversion = None
    if model.after_download and not model.weights.is_dir():
        conversion = AFTER_DOWNLOAD[model.after_download](model.downloaded, model.weights)
    return Download(model, fetched, conversion)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="The base model: a folder of recipes/ with a model.yaml.")
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="|".join([*HUBS, "DIR"]),
        default="modelscope",
        help="Where from (default: modelscope; mirrors: MODELSCOPE_ENDPOINT, HF_ENDPOINT), or a folder with them.",
    )


def run(args: argparse.Namespace) -> None:
    done = download(args.name, args.origin)
    if done.fetched:
        known = len(done.model.sha256)
        files = f"{known} files as published (SHA-256)" if known else "no checksums in its model.yaml"
        print(f"{rooted(done.model.downloaded)}: {done.fetched}, {files}")
    else:
        print(f"{rooted(done.model.downloaded if done.model.source else done.model.weights)}: already here")
    if done.conversion:
        print(done.conversion)


def fetch_whole(model: BaseModel, source: str, origin: str) -> str:
    """Bring a model into its folder, which appears only once it has all files with the right checksums.

    Returns:
        What was fetched, and from which address or folder.

    Raises:
        UserError: see `download`.
    """
    folder = model.downloaded
    others = " or ".join(f"--from {other}" for other in [*HUBS, "DIR"] if other != origin)
    files = f"the files of {source} (config, tokenizer, *.safetensors)"
    remedy = f"take it {others}, or put {files} into {rooted(folder)}"
    if origin not in HUBS and not Path(origin).is_dir():
        raise UserError(f"--from {one_line(origin)}: not one of {', '.join(HUBS)}, and no folder; correct it")
    MODELS.mkdir(exist_ok=True)
    part = folder.with_name(f"{folder.name}.part")
    held = kept_of(part) / 1e9 if origin in HUBS else 0.0
    free, rest = shutil.disk_usage(MODELS).free / 1e9, model.gigabytes - held
    if free < rest * 1.1:
        need = f"{model.name} needs {rest:.1f} GB{' more' if held else ''}, {free:.1f} GB are free"
        raise UserError(f"{rooted(folder)}: {need}; make room, or put {files} into {rooted(folder)}")
    if folder.exists():
        raise UserError(f"{rooted(folder)}: lacks files of {source}; add them, or remove it and run again")
    if origin not in HUBS:
        copy_whole(Path(origin), folder, model.sha256)
        return f"copied from {rooted(Path(origin))}"
    said = fetch(model, source, origin, part, remedy)
    if lacking := lacking_files(part, model.sha256):
        raise UserError(f"{rooted(part)}: {lacking[0]} is missing after the download; run it again, or {remedy}")
    check(part, model.sha256)
    part.rename(folder)
    return said


def kept_of(part: Path) -> int:
    """Bytes of an interrupted download that the next goes on with: not .cache, which huggingface_hub begins again."""
    paths = (path for path in part.rglob("*") if ".cache" not in path.relative_to(part).parts)
    return sum(path.stat().st_size for path in paths if path.is_file())


def fetch(model: BaseModel, source: str, origin: str, folder: Path, remedy: str) -> str:
    """Download a model from a hub; complete files are kept and partial ones resumed (the hubs' libraries do both).

    Returns:
        What is downloaded, and from which address: said before it starts, too.

    Raises:
        UserError: the hub's library is not installed here, or the hub cannot be reached.
    """
    name, revision = model.on_huggingface if origin == "huggingface" else (source, model.revision)
    download_files, host = HUBS[origin]
    try:
        said = f"{name} ({revision[:12]}) from {host()}"
        print(f"downloading {said}", file=sys.stderr)
        download_files(name, revision, folder, WANTED)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"download needs the train environment ({error}); run `make download MODEL=…`") from None
    except Exception as error:
        # Errors of requests and httpx, of the hubs' clients and of the file system all arrive here.
        cause = next(iter(getattr(error, "failed_files", {}).values()), error)
        problem = str(cause).splitlines()[0][:160] if str(cause) else type(cause).__name__
        raise UserError(f"{name}: cannot be downloaded ({problem}); {remedy}") from None
    return said


def copy_whole(origin: Path, folder: Path, sums: Mapping[str, str]) -> None:
    """Copy a model's files from a folder, with progress; the target appears once it is complete and checked.

    Raises:
        UserError: a file is missing or differs; nothing is left behind.
    """
    from tqdm import tqdm

    if lacking := lacking_files(origin, sums):
        raise UserError(f"{rooted(origin)}: {lacking[0]} is missing; add it, or name another folder")
    paths = sorted({path for pattern in WANTED for path in origin.glob(pattern) if path.is_file()})
    total = sum(path.stat().st_size for path in paths)
    with whole_folder(folder) as part:
        with tqdm(total=total, unit="B", unit_scale=True, desc=f"copying {len(paths)} files") as bar:
            for path in paths:
                with path.open("rb") as read, (part / path.name).open("xb") as written:
                    while block := read.read(1 << 24):
                        written.write(block)
                        bar.update(len(block))
        check(part, sums, named=origin)


def check(folder: Path, sums: Mapping[str, str], named: Path | None = None) -> None:
    """Compare files with their SHA-256, with progress; one that differs is removed: the next run downloads it again.

    Args:
        folder: where the files are.
        sums: file name -> SHA-256.
        named: the folder that messages name, if the files are copies of those in it.

    Raises:
        UserError: a file differs.
    """
    from tqdm import tqdm

    total = sum((folder / name).stat().st_size for name in sums)
    with tqdm(total=total, unit="B", unit_scale=True, desc="checking SHA-256") as bar:
        for name, expected in sums.items():
            if (found := digest(folder / name, bar.update)) != expected:
                (folder / name).unlink()
                problem = f"sha256 is {found}, expected {expected}"
                if named:
                    raise UserError(f"{rooted(named / name)}: {problem}; nothing was copied: replace the file")
                raise UserError(f"{rooted(folder / name)}: {problem}; the file was removed: run the download again")


def lacking_files(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """The files that a folder of a model should have and has not, by its index and its checksums."""
    index = folder / INDEX
    weights = indexed_files(index, "download the model again") if index.is_file() else {SINGLE}
    needed = {"config.json", *sums, *weights}
    return sorted(name for name in needed if not (folder / name).is_file())


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a model: a config, and every weight file that its index names (or the only one)."""
    return folder.is_dir() and not lacking_files(folder, {})
