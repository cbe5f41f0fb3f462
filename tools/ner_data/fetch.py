"""Download the raw files of a corpus into ``data/raw/CORPUS``, checked by SHA-256: ``ner-data fetch CORPUS``."""

import argparse
import hashlib
import zipfile
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_data import demo
from ner_data.corpus import RAW, Corpus, Split, load_corpus

CHUNK = 1 << 16
TIMEOUT_S = 30.0


def fetch(corpus: str) -> dict[Path, str]:
    """Get the raw files of a corpus: download those that are missing, or generate `demo`.

    Args:
        corpus: a name in ``data/corpora``.

    Returns:
        For each file in ``data/raw/CORPUS``, in words, how it was obtained.

    Raises:
        UserError: no such corpus; or see `fetch_file`.
    """
    described = load_corpus(corpus)
    folder = RAW / described.name
    if described.name == "demo":
        counts = demo.write_demo(folder)
        return {folder / described.splits[name].file: f"{count} sentences generated" for name, count in counts.items()}
    return fetch_corpus(described, folder)


def fetch_corpus(corpus: Corpus, folder: Path) -> dict[Path, str]:
    """Get all raw files of a corpus; returns what `fetch` returns, raises what `fetch_file` raises."""
    got = {folder / split.file: fetch_file(corpus, split, folder) for split in corpus.splits.values()}
    for archive in folder.glob("*.zip.part"):  # kept until every split has been unpacked
        archive.unlink()
    return got


def fetch_file(corpus: Corpus, split: Split, folder: Path) -> str:
    """Get one raw file, unless it is already there with the right checksum; returns, in words, how it was obtained.

    A download goes to ``<name>.part``, which a later call resumes; the file gets its name only after the check of its
    checksum.

    Raises:
        UserError: no network, no URL, or the published file has changed since this project was written.
    """
    import httpx

    path = folder / split.file
    compared = "checksum right" if split.sha256 else "no checksum to compare"
    if path.is_file():
        check(path, split)
        return f"already here, {compared}"
    remedy = f"get {split.file} from {corpus.source} and put it at {rooted(path)}, or name its folder with RAW=DIR"
    if split.url is None:
        raise UserError(f"{rooted(path)}: no such file, and its corpus names no URL; {remedy}")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (Path(split.url).name + ".part")
    try:
        download(split.url, part)
    except httpx.HTTPError as error:
        raise UserError(f"{split.url}: cannot be downloaded ({error or type(error).__name__}); {remedy}") from None
    if split.url.endswith(".zip"):
        unpacked = folder / f"{split.file}.part"
        unpacked.write_bytes(_member(part, split.file))
        part = unpacked
    try:
        check(part, split)
    except UserError:
        part.unlink()
        raise
    part.replace(path)
    return f"downloaded, {compared}"


def download(url: str, part: Path) -> None:
    """Download to ``part`` with a progress bar, resuming where an earlier download stopped.

    Raises:
        httpx.HTTPError: the server cannot be reached or does not answer with the file.
    """
    import httpx
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        total = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total or None, initial=have if resumed else 0, unit="B", unit_scale=True, desc=part.stem
            ) as bar,
        ):
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _member(archive: Path, name: str) -> bytes:
    """The content of one file of a zip archive, found by its name in any folder."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [member for member in opened.namelist() if Path(member).name == name]
            if found:
                return opened.read(found[0])
    except zipfile.BadZipFile:
        archive.unlink()
        raise UserError(f"{rooted(archive)}: is not a zip archive; it was removed: fetch again") from None
    raise UserError(f"{rooted(archive)}: has no {name}; its publisher has changed it")


def check(path: Path, split: Split) -> None:
    """Compare a file with the SHA-256 of its corpus.

    Raises:
        UserError: they differ.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if split.sha256 and digest != split.sha256:
        remedy = "remove the file and fetch again, or use RAW=DIR"
        raise UserError(f"{rooted(path)}: sha256 is {digest}, expected {split.sha256}; {remedy}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")


def run(args: argparse.Namespace) -> None:
    corpus = load_corpus(args.corpus)
    print(f"{corpus.name}: {corpus.title}; licence: {corpus.licence}", flush=True)
    for path, how in fetch(args.corpus).items():
        print(f"{rooted(path)}: {how}")
