"""Download the raw files of a corpus into ``data/raw/CORPUS``, checked by SHA-256: ``ner-data fetch CORPUS``."""

import argparse
import errno
import hashlib
import re
import sys
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ner_common.errors import UserError, escaped, rooted
from ner_common.files import locked
from ner_data import demo
from ner_data.corpus import RAW, load_corpus
from ner_data.described import Corpus, Split

if TYPE_CHECKING:
    import httpx

CHUNK = 1 << 16
LARGEST = 1 << 30  # bytes of a download and of an unpacked file; CLUENER's have 3 MB
TIMEOUT_S = 30.0
BUSY = "another `ner-data fetch` is at work there; wait for it and try again"


def fetch(corpus: str) -> dict[Path, str]:
    """Get the raw files of a corpus: download those that are missing, or generate `demo`.

    Args:
        corpus: a name in ``data/corpora``.

    Returns:
        For each file in ``data/raw/CORPUS``, in words, how it was obtained.

    Raises:
        UserError: no such corpus; another process fetches it; or see `fetch_file`.
    """
    described = load_corpus(corpus)
    folder = RAW / described.name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, BUSY):
        if described.name != "demo":
            return fetch_corpus(described, folder)
        counts = demo.write_demo(folder)
    return {folder / described.splits[name].file: f"{count} sentences generated" for name, count in counts.items()}


def fetch_corpus(corpus: Corpus, folder: Path) -> dict[Path, str]:
    """Get all raw files of a corpus; returns what `fetch` returns, raises what `fetch_file` raises."""
    archives: dict[Path, str] = {}
    got = {folder / split.file: fetch_file(corpus, split, folder, archives) for split in corpus.splits.values()}
    for part in folder.glob("*.part"):
        if part.name.lower().endswith(".zip.part"):  # kept until every split has been unpacked
            part.unlink()
    return got


def fetch_file(corpus: Corpus, split: Split, folder: Path, archives: dict[Path, str] | None = None) -> str:
    """Get one raw file, unless it is already there with the right checksum; returns, in words, how it was obtained.

    A download goes to ``<name>.part``, which a later call resumes if there is a checksum to tell whether the parts fit
    together. The file gets its name only after that check. What turns out to be wrong is removed, so the next call
    starts again.

    Args:
        corpus: the corpus, whose source the messages name.
        split: the file.
        folder: where it belongs.
        archives: the archives that this process has downloaded, with their URLs; the call adds its own.

    Raises:
        UserError: no network, no URL, or the published file has changed since this project was written.
    """
    path = folder / split.file
    compared = "checksum right" if split.sha256 else "no checksum to compare"
    if path.is_file():
        check(path, split, "remove the file and fetch again, or use RAW=DIR")
        return f"already here, {compared}"
    remedy = f"get {split.file} from {corpus.source} and put it at {rooted(path)}, or name its folder with RAW=DIR"
    if not split.urls:
        raise UserError(f"{rooted(path)}: no such file, and its corpus names no URL; {remedy}")
    path.parent.mkdir(parents=True, exist_ok=True)
    archives = {} if archives is None else archives
    *others, last = split.urls
    for url in others:
        try:
            _fetch_from(url, path, split, folder, archives, remedy)
        except UserError as error:
            problem = str(error).removesuffix(f"; {remedy}")
            print(f"note: {problem}; trying the next address", file=sys.stderr)
        else:
            return f"downloaded from {url}, {compared}"
    _fetch_from(last, path, split, folder, archives, remedy)
    return f"downloaded from {last}, {compared}"


def _fetch_from(url: str, path: Path, split: Split, folder: Path, archives: dict[Path, str], remedy: str) -> None:
    """Get one raw file from one address; see `fetch_file`."""
    unpacked = path.with_name(f"{path.name}.part")
    address = re.sub(r"^https?://[^/?#]*|[?#].*", "", url)
    zipped = address.lower().endswith(".zip")
    part = folder / f"{Path(address).name[-64:]}.part" if zipped else unpacked
    if archives.get(part) != url:
        if not split.sha256 or part in archives:
            part.unlink(missing_ok=True)
        download(url, part, remedy)
    if zipped:
        archives[part] = url
        unpack(part, path.name, unpacked, remedy)
    try:
        check(unpacked, split, f"it was removed: fetch again, or, if its publisher has changed it, {remedy}")
    except UserError:
        for wrong in {unpacked, part}:
            wrong.unlink()
        raise
    unpacked.replace(path)


def download(url: str, part: Path, remedy: str) -> None:
    """Download to ``part`` with a progress bar, resuming where an earlier download stopped.

    Raises:
        UserError: the server cannot be reached, does not answer with the file, or sends more than it announced or than
            ``LARGEST``; ``remedy`` says what to do instead.
    """
    import httpx

    have = part.stat().st_size if part.exists() else 0
    # Not compressed: the bytes of a part must be the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or the checksum will tell
            response.raise_for_status()
            _receive(response, part, have)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, _Refused) as error:  # UnicodeError: no host name
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{url}: cannot be downloaded ({escaped(words, 200)}); {remedy}") from None


class _Refused(Exception):
    """What a server sent is not the file."""


def _receive(response: "httpx.Response", part: Path, have: int) -> None:
    """Write the body of a response to ``part``, after the ``have`` bytes that are there if the server continues."""
    from tqdm import tqdm

    if response.status_code not in (200, 206) or (response.status_code == 206 and not have):
        raise _Refused(f"status {response.status_code}, not the file")
    if encoding := response.headers.get("Content-Encoding"):
        raise _Refused(f"it comes compressed ({encoding})")
    if response.status_code == 200:
        have = 0
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdecimal() else None
    if have and (continued := response.headers.get("Content-Range")):
        found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", continued.strip())
        if not found or int(found[1]) != have:
            part.unlink()
            raise _Refused(f"it continues at {continued}, not at byte {have}; the part was removed: fetch again")
        total = int(found[2]) if found[2] != "*" else total
    most = LARGEST if total is None else total
    if most > LARGEST:
        raise _Refused(f"{most:,} bytes, more than {LARGEST:,}")
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
    ):
        for chunk in response.iter_raw():
            have += len(chunk)
            if have > most:
                part.unlink()
                raise _Refused(f"more than the {most:,} bytes that were announced or allowed")
            file.write(chunk)
            bar.update(len(chunk))
    if not have or (total is not None and have < total):
        raise _Refused(f"{have:,} bytes of {total or 'a file'}; fetch again to continue")


def unpack(archive: Path, name: str, target: Path, remedy: str) -> None:
    """Unpack one file of a zip archive, found by its name in any folder; a bad archive is removed.

    Raises:
        UserError: the archive is damaged, encrypted or a bomb, or does not have exactly one such file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = [info for info in opened.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
            found = [info for info in files if Path(info.filename).name == name]
            if len(found) != 1:
                raise _Refused(f"has {len(found) or 'no'} {name}; its publisher has changed it")
            if found[0].flag_bits & 1:
                raise _Refused(f"{name} is encrypted")
            with opened.open(found[0]) as packed, target.open("wb") as file:
                _copy(packed, file, name)
    except Exception as error:
        target.unlink(missing_ok=True)
        # A full disk says nothing about the archive; a place before its start (EINVAL) does.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        archive.unlink(missing_ok=True)
        # Damage raises zipfile's own error, zlib's, lzma's, bz2's, EOFError, ValueError, NotImplementedError, …
        problem = (
            str(error) if isinstance(error, _Refused) else f"is damaged, or no zip archive ({escaped(str(error), 80)})"
        )
        raise UserError(f"{rooted(archive)}: {problem}; it was removed: fetch again, or {remedy}") from None


def _copy(packed: IO[bytes], file: IO[bytes], name: str) -> None:
    size = 0
    while chunk := packed.read(CHUNK):
        size += len(chunk)
        if size > LARGEST:
            raise _Refused(f"{name} is larger than {LARGEST:,} bytes")
        file.write(chunk)


def check(path: Path, split: Split, remedy: str) -> None:
    """Compare a file with the SHA-256 of its corpus.

    Raises:
        UserError: they differ; ``remedy`` says what to do.
    """
    if split.sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != split.sha256.lower():
        raise UserError(f"{rooted(path)}: sha256 is {digest}, expected {split.sha256}; {remedy}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a name in data/corpora")


def run(args: argparse.Namespace) -> None:
    corpus = load_corpus(args.corpus)
    print(f"{corpus.name}: {corpus.title}; licence: {corpus.licence}", flush=True)
    for path, how in fetch(args.corpus).items():
        print(f"{rooted(path)}: {how}")
