"""Servers and archives that are broken or hostile: one line, nothing outside the folder, and the next fetch works."""

import hashlib
import io
import random
import socket
import struct
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import ner_data
from ner_common.errors import UserError
from ner_data.described import Corpus, Label, Split
from ner_data.fetch import fetch_corpus

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 1 << 20
MODULE = sys.modules["ner_data.fetch"]  # the package has a function of this name


class Raw:
    """A server that answers each request with the next of its raw responses, and the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self.asked.append(connection.recv(1 << 16))
                connection.sendall(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Raw]:
    monkeypatch.setattr(MODULE, "LARGEST", LIMIT)
    monkeypatch.setattr(MODULE, "TIMEOUT_S", 2.0)
    raw = Raw()
    yield raw
    raw.socket.close()


def response(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    fields = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in fields.items() if value is not None),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def archive(content: bytes = CONTENT, name: str = "folder/a.txt", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as opened:
        opened.writestr(name, content)
    return packed.getvalue()


def corpus(url: str, sha256: str | None = SHA256) -> Corpus:
    return Corpus(
        "x", "", "https://example.org/x", "", "bio", {"train": Split("a.txt", url, sha256)}, (Label("a", "甲"),)
    )


def refused(url: str, folder: Path, sha256: str | None = SHA256) -> str:
    """The one line of a fetch that fails; nothing has got the file's name."""
    with pytest.raises(UserError) as error:
        fetch_corpus(corpus(url, sha256), folder)
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    assert not (folder / "a.txt").exists()
    return str(error.value)


def works(server: Raw, url: str, folder: Path) -> None:
    """The next fetch, of what the corpus describes, works."""
    server.answers = [response(archive() if url.endswith(".zip") else CONTENT)]
    fetch_corpus(corpus(url), folder)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.txt", CONTENT)]


def encrypted() -> bytes:
    data = bytearray(archive())
    for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1
    return bytes(data)


def wrong_crc() -> bytes:
    data = archive(method=zipfile.ZIP_STORED)
    return data.replace(CONTENT[:256], CONTENT[:255] + b"x", 1)


def lying_about_its_size() -> bytes:
    data = bytearray(archive(b"0" * (3 * LIMIT)))
    for at in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[at : at + 4] = struct.pack("<I", 100)
    return bytes(data)


def two_of_a_name() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("one/a.txt", CONTENT)
        opened.writestr("two/a.txt", b"other")
    return packed.getvalue()


ARCHIVES = {
    "other content": (archive(b"other"), "sha256 is"),
    "no archive": (b"<html>not found</html>", "damaged, or no zip archive"),
    "cut": (archive()[:-30], "damaged, or no zip archive"),
    "cut at the start": (archive()[30:], "damaged, or no zip archive"),
    "wrong CRC": (wrong_crc(), "damaged, or no zip archive"),
    "encrypted": (encrypted(), "a.txt is encrypted"),
    "bomb": (archive(b"0" * (3 * LIMIT)), "a.txt is larger than 1,048,576 bytes"),
    "bomb that lies": (lying_about_its_size(), "damaged, or no zip archive"),
    "lzma bomb": (archive(b"0" * (3 * LIMIT), method=zipfile.ZIP_LZMA), "a.txt is larger than"),
    "another name": (archive(name="b.txt"), "has no a.txt; its publisher has changed it"),
    "a folder of the name": (archive(b"", name="a.txt/"), "has no a.txt"),
    "two of the name": (two_of_a_name(), "has 2 a.txt"),
    "unknown method": (archive().replace(b"\x08\x00", b"\x63\x00"), "damaged, or no zip archive"),
    "empty archive": (b"PK\x05\x06" + bytes(18), "has no a.txt"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_bad_archive_is_removed_and_the_next_fetch_works(server: Raw, tmp_path: Path, kind: str) -> None:
    body, words = ARCHIVES[kind]
    server.answers = [response(body)]
    url = f"{server.url}/all.zip"
    assert words in refused(url, tmp_path)
    assert list(tmp_path.iterdir()) == []
    works(server, url, tmp_path)


RESPONSES = {
    "not found": (response(b"", "404 Not \x1b[2JFound"), "404"),
    "server error": (response(b"no", "500 Broken"), "500"),
    "no content": (response(b"", "204 No Content", Content_Length=None), "status 204"),
    "empty": (response(b""), "0 bytes"),
    "shorter than announced": (response(CONTENT[:-1], Content_Length=len(CONTENT)), "peer closed connection"),
    "announced too large": (response(b"x", Content_Length=10**15), "more than 1,048,576"),
    "too large without a word": (response(b"x" * (LIMIT + 1), Content_Length=None), "more than the 1,048,576 bytes"),
    "too large in chunks": (chunked(b"x" * (LIMIT + 1)), "more than the 1,048,576 bytes"),
    "part of it unasked": (response(CONTENT[:9], "206 Partial", Content_Range="bytes 0-8/9"), "status 206"),
    "length of another kind": (response(CONTENT, Content_Length="many"), "cannot be downloaded"),
    "compressed": (response(CONTENT, Content_Encoding="gzip"), "it comes compressed (gzip)"),
    "to a local file": (response(b"", "302 Found", Location="file:///etc/passwd"), "cannot be downloaded"),
    "to nowhere": (response(b"", "302 Found", Location="http://[::1"), "cannot be downloaded"),
    "in circles": (response(b"", "302 Found", Location="/a.txt"), "cannot be downloaded"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "cannot be downloaded"),
    "nothing": (b"", "cannot be downloaded"),
    "headers for ever": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "cannot be downloaded"),
    "bad chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot be downloaded"),
    "other content": (response(b"other"), "sha256 is"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_bad_response_is_one_line_and_the_next_fetch_works(server: Raw, tmp_path: Path, kind: str) -> None:
    answer, words = RESPONSES[kind]
    server.answers = [answer]
    assert words in refused(f"{server.url}/a.txt", tmp_path)
    left = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert left == (len(CONTENT) - 1 if kind == "shorter than announced" else 0)  # to continue with
    works(server, f"{server.url}/a.txt", tmp_path)


@pytest.mark.parametrize(
    ("content_range", "words"),
    [
        ("bytes 0-{last}/{size}", "it continues at bytes 0-"),
        ("bytes 9-{last}/{size}", "not at byte 100"),
        ("lines 100-{last}/{size}", "not at byte 100"),
        ("bytes 100-{last}/99999999", "more than 1,048,576"),
        ("bytes 100-{last}/200000", "102,400 bytes of 200000"),
        ("bytes 100-{last}/150", "more than the 150 bytes"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_continue_where_it_was_asked_is_refused(
    server: Raw, tmp_path: Path, content_range: str, words: str
) -> None:
    (tmp_path / "a.txt.part").write_bytes(CONTENT[:100])
    where = content_range.format(last=len(CONTENT) - 1, size=len(CONTENT))
    server.answers = [response(CONTENT[100:], "206 Partial Content", Content_Range=where)]
    assert words in refused(f"{server.url}/a.txt", tmp_path)
    works(server, f"{server.url}/a.txt", tmp_path)


def test_a_server_that_continues_is_asked_for_the_rest_only(server: Raw, tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_bytes(CONTENT[:100])
    where = f"bytes 100-{len(CONTENT) - 1}/{len(CONTENT)}"
    server.answers = [response(CONTENT[100:], "206 Partial Content", Content_Range=where)]
    fetch_corpus(corpus(f"{server.url}/a.txt"), tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert b"bytes=100-" in server.asked[0]


def test_without_a_checksum_a_part_is_not_continued(server: Raw, tmp_path: Path) -> None:
    """Nothing would tell whether the two ends belong together."""
    (tmp_path / "a.txt.part").write_bytes(b"of another file")
    server.answers = [response(CONTENT)]
    fetch_corpus(corpus(f"{server.url}/a.txt", None), tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert b"Range" not in server.asked[0]


def test_two_archives_of_one_name_are_not_mixed_up(server: Raw, tmp_path: Path) -> None:
    server.answers = [response(archive(b"one", "a.txt")), response(archive(b"two", "b.txt"))]
    splits = {"train": Split("a.txt", f"{server.url}/1/all.zip"), "dev": Split("b.txt", f"{server.url}/2/all.zip")}
    fetch_corpus(Corpus("x", "", "", "", "bio", splits, (Label("a", "甲"),)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"one", "b.txt": b"two"}


def test_an_archive_is_downloaded_once_for_all_its_files(server: Raw, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name in ("a.txt", "b.txt"):
            opened.writestr(name, name)
    server.answers = [response(packed.getvalue())]
    splits = {split: Split(name, f"{server.url}/all.zip") for split, name in (("train", "a.txt"), ("dev", "b.txt"))}
    fetch_corpus(Corpus("x", "", "", "", "bio", splits, (Label("a", "甲"),)), tmp_path)
    assert len(server.asked) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_a_bomb_takes_no_memory(server: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "LARGEST", 64 << 20)
    server.answers = [response(archive(bytes(128 << 20)))]
    tracemalloc.start()
    try:
        assert "larger than" in refused(f"{server.url}/all.zip", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("file", ["../../x.txt", "/x.txt", "..", "a/../../x.txt"])
def test_no_file_is_written_outside_the_raw_folder(server: Raw, workplace: Path, file: str) -> None:
    text = (
        "{name: my, title: Mine, source: here, licence: CC0, format: bio, labels: {a: {name: 甲}}, "
        f"splits: {{train: {{file: {file}, url: '{server.url}/x.txt'}}}}}}"
    )
    Path("data/corpora/my.yaml").write_text(text, "utf-8")
    server.answers = [response(CONTENT)]
    before = set(workplace.rglob("*"))
    with pytest.raises(UserError, match="file must be a name inside the raw folder"):
        ner_data.fetch("my")
    assert not server.asked and set(workplace.rglob("*")) == before


@pytest.mark.parametrize("times", [pytest.param(1, id="quick"), pytest.param(20, id="long", marks=pytest.mark.slow)])
def test_damaged_archives_and_responses_are_one_line_or_the_file(server: Raw, tmp_path: Path, times: int) -> None:
    chance, tried, got = random.Random(6), 0, 0
    for number in range(100 * times):
        zipped = number % 2 == 0
        data = bytearray(response(archive()) if zipped else response(CONTENT))
        for _ in range(chance.randint(1, 4)):
            at = chance.choice(
                [chance.randrange(len(data)), chance.randrange(90), len(data) - 1 - chance.randrange(120)]
            )
            data[at : at + chance.choice([0, 1, 1, 30])] = bytes(
                chance.randrange(256) for _ in range(chance.choice([0, 1, 1, 4]))
            )
        server.answers = [bytes(data)]
        folder = tmp_path / str(number)
        tried += 1
        try:
            fetch_corpus(corpus(f"{server.url}/{'all.zip' if zipped else 'a.txt'}"), folder)
        except UserError as error:
            assert "\n" not in str(error) and str(error).isprintable()
            assert {path.name for path in folder.iterdir()} <= {"a.txt.part", "all.zip.part"}
            continue
        got += 1
        assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.txt", CONTENT)]
    assert tried == 100 * times and 0 < got < tried
