"""``ner-data fetch CORPUS``: the raw files of a corpus into ``data/raw/CORPUS``, each checked by SHA-256."""

import argparse
import hashlib
import zipfile
from pathlib import Path

import httpx
from tqdm import tqdm

from ner_common.errors import UserError, rooted
from ner_data import demo
from ner_data.corpus import RAW, Corpus, Split, load_corpus

CHUNK = 1 << 16
TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")


def run(args: argparse.Namespace) -> None:
    corpus = load_corpus(args.corpus)
    folder = RAW / corpus.name
    if corpus.name == "demo":
        for name, count in demo.write_demo(folder).items():
            print(f"{rooted(folder / corpus.splits[name].file)}: {count} sentences generated")
        return
    fetch_corpus(corpus, folder)


def fetch_corpus(corpus: Corpus, folder: Path) -> None:
    """Bring all raw files of a corpus; raises as `fetch_file`."""
    for split in corpus.splits.values():
        fetch_file(corpus, split, folder)
    for archive in folder.glob("*.zip.part"):  # kept until all splits were taken out of it
        archive.unlink()


def fetch_file(corpus: Corpus, split: Split, folder: Path) -> None:
    """Bring one raw file, or leave it where its checksum is right already.

    A download goes to ``<name>.part`` and is resumed from there; a file takes its name only after its checksum was
    found right.

    Raises:
        UserError: no network, no address, or the published file is not the one this project was written for.
    """
    path = folder / split.file
    if path.is_file():
        check(path, split)
        print(f"{rooted(path)}: already here, checksum right")
        return
    remedy = f"get {split.file} from {corpus.source} and put it at {rooted(path)}, or name its folder with RAW=DIR"
    if split.url is None:
        raise UserError(f"{rooted(path)}: no such file, and its corpus names no address; {remedy}")
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
    print(f"{rooted(path)}: downloaded, checksum right")


def download(url: str, part: Path) -> None:
    """Download to ``part`` with a progress bar; what is there already is not asked for again.

    Raises:
        httpx.HTTPError: the server cannot be reached or does not answer with the file.
    """
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
    """One file of a zip archive, found by its name in whatever folder it lies."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [member for member in opened.namelist() if Path(member).name == name]
            if found:
                return opened.read(found[0])
    except zipfile.BadZipFile:
        archive.unlink()
        raise UserError(f"{rooted(archive)}: is no zip archive; it was removed, fetch again") from None
    raise UserError(f"{rooted(archive)}: has no {name}; its publisher changed it")


def check(path: Path, split: Split) -> None:
    """Compare a file with the SHA-256 of its corpus.

    Raises:
        UserError: they differ.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if split.sha256 and digest != split.sha256:
        remedy = "remove the file and fetch again, or use RAW=DIR"
        raise UserError(f"{rooted(path)}: sha256 is {digest}, expected {split.sha256}; {remedy}")
