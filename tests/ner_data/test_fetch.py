"""`ner-data fetch` from a real HTTP server on this machine: checksums, resuming, archives, no network."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from ner_common.errors import UserError
from ner_data import fetch
from ner_data.described import Corpus, Label, Split
from ner_data.fetch import fetch_corpus, fetch_file
from support import Result

CONTENT = b"0123456789" * 20_000


class Files(BaseHTTPRequestHandler):
    """Serves the files of a dictionary, supports Range, and records the requests."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - shared on purpose, filled by each test
    moved: dict[str, str] = {}  # noqa: RUF012
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        if address := self.moved.get(self.path):
            self.send_response(302)
            self.send_header("Location", quote(address, safe="/:[]%"))
            self.end_headers()
            return
        data = self.files.get(self.path)
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if data is None or start >= len(data):
            self.send_error(404 if data is None else 416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def site() -> Iterator[str]:
    Files.files, Files.moved, Files.asked = {"/a.txt": CONTENT}, {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def corpus(split: Split) -> Corpus:
    return Corpus("x", "", "https://example.org/x", "", "bio", {"train": split}, (Label("a", "甲", ""),))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_downloaded_once_and_checked(site: str, tmp_path: Path) -> None:
    split = Split("a.txt", f"{site}/a.txt", sha256(CONTENT))
    assert fetch_file(corpus(split), split, tmp_path) == f"downloaded from {split.url}, checksum right"
    assert fetch_file(corpus(split), split, tmp_path) == "already here, checksum right"
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert Files.asked == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_without_a_checksum_none_is_called_right(site: str, tmp_path: Path) -> None:
    split = Split("a.txt", f"{site}/a.txt")
    assert fetch_file(corpus(split), split, tmp_path) == f"downloaded from {split.url}, no checksum to compare"
    assert fetch_file(corpus(split), split, tmp_path) == "already here, no checksum to compare"


def test_a_partial_download_is_resumed(site: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_bytes(CONTENT[:150_000])
    split = Split("a.txt", f"{site}/a.txt", sha256(CONTENT))
    fetch_file(corpus(split), split, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    assert Files.asked == ["bytes=150000-"]


def test_a_complete_part_is_not_downloaded_again(site: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_bytes(CONTENT)
    split = Split("a.txt", f"{site}/a.txt", sha256(CONTENT))
    fetch_file(corpus(split), split, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == CONTENT


def test_a_file_other_than_the_known_one_is_not_kept(site: str, tmp_path: Path) -> None:
    split = Split("a.txt", f"{site}/a.txt", sha256(b"other"))
    words = r"sha256 is \w+, expected \w+; it was removed: fetch again, or, if its publisher has changed it, get a.txt"
    with pytest.raises(UserError, match=words):
        fetch_file(corpus(split), split, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_an_archive_is_unpacked(site: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/a.txt", CONTENT)
    Files.files["/all.zip"] = packed.getvalue()
    split = Split("a.txt", f"{site}/all.zip", sha256(CONTENT))
    assert fetch_corpus(corpus(split), tmp_path) == {
        tmp_path / "a.txt": f"downloaded from {split.url}, checksum right"
    }
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", CONTENT)]


def test_a_file_that_was_there_is_kept_and_the_user_told_to_remove_it(site: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    split = Split("a.txt", f"{site}/a.txt", sha256(CONTENT))
    with pytest.raises(UserError, match="remove the file and fetch again, or use RAW=DIR"):
        fetch_file(corpus(split), split, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "address", ["/all.zip?x=1", "/all.ZIP", "/ALL.Zip?of=a/b#c", f"/{'long' * 99}.zip", "/%E5.zip"]
)
def test_an_archive_is_known_by_the_path_of_its_address(site: str, tmp_path: Path, address: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/a.txt", CONTENT)
    Files.files[address.partition("#")[0]] = packed.getvalue()
    split = Split("a.txt", f"{site}{address}", sha256(CONTENT))
    fetch_corpus(corpus(split), tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", CONTENT)]


@pytest.mark.parametrize("query", ["?file=b.zip", "?x=/..", "?" + "x" * 300])
def test_a_query_is_no_part_of_a_file_name(site: str, tmp_path: Path, query: str) -> None:
    Files.files[f"/a{query}"] = CONTENT
    split = Split("a.txt", f"{site}/a{query}", sha256(CONTENT))
    assert fetch_file(corpus(split), split, tmp_path) == f"downloaded from {split.url}, checksum right"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


NO_HOSTS = [
    "http://..",
    "http://a..b/x",
    f"http://{'a' * 70}.org/x",
    "http://[x/a",
    "http://a:b/x",
    "http://xn--/",
    "http://\u0378/",
]


@pytest.mark.parametrize("url", NO_HOSTS)
@pytest.mark.parametrize("redirected", [False, True])
def test_an_address_without_a_host_is_one_line(site: str, tmp_path: Path, url: str, redirected: bool) -> None:
    Files.moved["/x.txt"] = url
    split = Split("a.txt", f"{site}/x.txt" if redirected else url, sha256(CONTENT))
    with pytest.raises(UserError, match=r"cannot be downloaded .*; get a.txt from") as error:
        fetch_file(corpus(split), split, tmp_path)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_missing_page_says_which_file_to_put_where(site: str, tmp_path: Path) -> None:
    split = Split("a.txt", f"{site}/gone.txt", sha256(CONTENT))
    with pytest.raises(UserError, match=r"404.*get a.txt from https://example.org/x and put it at .*/a.txt"):
        fetch_file(corpus(split), split, tmp_path)


def test_addresses_are_tried_in_turn_and_the_checksum_decides(
    site: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Files.files["/wrong/a.txt"] = b"another file"
    urls = [f"{site}/gone/a.txt", f"{site}/wrong/a.txt", f"{site}/a.txt"]
    split = Split("a.txt", urls, sha256(CONTENT))
    assert fetch_file(corpus(split), split, tmp_path) == f"downloaded from {urls[2]}, checksum right"
    assert (tmp_path / "a.txt").read_bytes() == CONTENT
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2 and all(note.endswith("; trying the next address") for note in notes)
    assert urls[0] in notes[0] and "cannot be downloaded" in notes[0] and "sha256 is" in notes[1]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"gone/a\.txt: cannot be downloaded .*; get a\.txt from"):
        fetch_file(corpus(replace(split, url=urls[:1])), replace(split, url=urls[1::-1]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_one_address_began_another_continues(site: str, tmp_path: Path) -> None:
    split = Split("a.txt", [f"{site}/gone/a.txt", f"{site}/a.txt"], sha256(CONTENT))
    (tmp_path / "a.txt.part").write_bytes(CONTENT[:7])
    fetch_file(corpus(split), split, tmp_path)
    assert Files.asked[-1] == "bytes=7-" and (tmp_path / "a.txt").read_bytes() == CONTENT


def test_title_and_licence_come_before_the_download(site: str, workplace: Path, cli: Callable[..., Result]) -> None:
    Path("data/corpora/my.yaml").write_text(
        f"{{name: my, title: My notes, source: here, licence: CC0, format: bio, labels: {{a: {{name: 甲}}}}, "
        f"splits: {{train: {{file: a.txt, url: '{site}/a.txt', sha256: {sha256(CONTENT)}}}}}}}",
        encoding="utf-8",
    )
    result = cli("ner-data", "fetch", "my")
    assert result.out.splitlines() == [
        "my: My notes; licence: CC0",
        f"data/raw/my/a.txt: downloaded from {site}/a.txt, checksum right",
    ]
    Path("data/corpora/my.yaml").write_text(
        Path("data/corpora/my.yaml").read_text(encoding="utf-8").replace("a.txt", "gone.txt"), encoding="utf-8"
    )
    result = cli("ner-data", "fetch", "my")
    assert result.code == 2 and result.out == "my: My notes; licence: CC0\n"


def test_the_function_returns_where_the_files_are(workplace: Path) -> None:
    assert fetch("demo") == {
        Path(f"data/raw/demo/{split}.json"): f"{count} sentences generated"
        for split, count in {"train": 2000, "dev": 200, "test": 200}.items()
    }
    assert Path("data/raw/demo/dev.json").is_file()


def test_without_a_network_there_is_a_line_per_address(workplace: Path, cli: Callable[..., Result]) -> None:
    for path in (workplace / "data/corpora").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("- https://", "- https://no-such-host.invalid/"), "utf-8")
    result = cli("ner-data", "fetch", "tcm")
    note, message = result.err.splitlines()
    assert result.code == 2
    assert note.startswith("note: https://no-such-host.invalid/raw") and note.endswith("; trying the next address")
    assert "cannot be downloaded" in message
    assert "put it at data/raw/tcm/medical_train.txt, or name its folder with RAW=DIR" in message
