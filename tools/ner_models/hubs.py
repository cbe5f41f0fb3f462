"""The hubs that base models are downloaded from, by their own libraries: ModelScope and Hugging Face.

Both take a mirror from the environment: ``MODELSCOPE_ENDPOINT`` (older: ``MODELSCOPE_DOMAIN``) and ``HF_ENDPOINT``.
Both keep complete files and go on after a broken connection; only modelscope goes on with a partial file in a later
run, as huggingface_hub 1.33 begins it again. modelscope compares every file with the hub's SHA-256; huggingface_hub
compares sizes only, so its files are compared here with what the hub lists: Git LFS's SHA-256 or Git's blob id.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from ner_common.errors import UserError, one_line, rooted

HUGGINGFACE = "https://huggingface.co"


def modelscope_host() -> str:
    """The address that modelscope asks."""
    from modelscope_hub import get_default_config

    return str(get_default_config().endpoint)


def huggingface_host() -> str:
    """The address that huggingface_hub is told to ask; the library itself reads the variable only once."""
    return (os.environ.get("HF_ENDPOINT") or HUGGINGFACE).rstrip("/")


def fetch_modelscope(source: str, revision: str, folder: Path, wanted: Sequence[str]) -> None:
    """Download the wanted files (patterns) of a model on ModelScope; any exception means that they are not there.

    Raises:
        UserError: the hub lists a file that would be written outside of the folder.
    """
    from modelscope import snapshot_download
    from modelscope.hub.api import HubApi

    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)  # it logs every retry; we report the outcome
    listed = HubApi().get_model_files(source, revision=revision, recursive=True)
    refuse_unsafe(source, (str(file["Path"]) for file in listed))
    snapshot_download(source, revision=revision, local_dir=str(folder), allow_patterns=list(wanted))


def fetch_huggingface(source: str, revision: str, folder: Path, wanted: Sequence[str]) -> None:
    """Download the wanted files (patterns) of a model on Hugging Face or a mirror; exceptions as `fetch_modelscope`.

    Raises:
        UserError: see `fetch_modelscope`; or a file differs from what the hub lists (it is removed).
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    host = huggingface_host()
    api = HfApi(endpoint=host)
    # Asked before the download: for a folder that is not empty, snapshot_download only warns if the hub is away.
    commit = api.model_info(source, revision=revision).sha
    tree = api.list_repo_tree(source, revision=commit, recursive=True)
    files = {file.path: file for file in tree if isinstance(file, RepoFile)}
    refuse_unsafe(source, files)
    snapshot_download(source, revision=commit, local_dir=folder, allow_patterns=list(wanted), endpoint=host)
    for name in filter_repo_objects(files, allow_patterns=list(wanted)):
        file, path = files[name], folder / name
        same = digest(path) == file.lfs.sha256 if file.lfs else git_blob(path) == file.blob_id
        if not same:
            path.unlink()
            shutil.rmtree(folder / ".cache", ignore_errors=True)  # else the library would take it for downloaded
            raise UserError(f"{rooted(path)}: not as {host} lists it; the file was removed: run the download again")
    shutil.rmtree(folder / ".cache", ignore_errors=True)


# Value of `--from` -> what downloads a model, and the address that it asks.
HUBS: dict[str, tuple[Callable[[str, str, Path, Sequence[str]], None], Callable[[], str]]] = {
    "modelscope": (fetch_modelscope, modelscope_host),
    "huggingface": (fetch_huggingface, huggingface_host),
}


def refuse_unsafe(source: str, names: Iterable[str]) -> None:
    """Refuse a list of files of which one would be written outside of the folder, or not be shown as it is.

    Raises:
        UserError: see above.
    """
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable() or not path.parts:
            raise UserError(
                f"{source}: lists a file called {one_line(name)}, which is no safe name; use another source"
            )


def digest(path: Path, step: Callable[[int], object] = lambda size: None) -> str:
    """The SHA-256 of a file; ``step`` is told the size of every part that was read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            found.update(block)
            step(len(block))
    return found.hexdigest()


def git_blob(path: Path) -> str:
    """The id of a file in Git: the SHA-1 of its length and content (https://git-scm.com/book, "Git Objects")."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
