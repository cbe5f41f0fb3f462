"""A model hub on this machine that speaks the file APIs of both hubs: ModelScope's and Hugging Face's."""

import hashlib
import json
import os
import signal
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
REPOSITORY = "Qwen/X"
WEIGHTS = bytes(range(256)) * 8192 * 10  # 20 MiB: modelscope writes to the disk by the MiB, huggingface_hub by 10


class Hub(ThreadingHTTPServer):
    """One repository: the list of its files, and each from a given byte on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
        self.sent: dict[str, bytes] = {}  # what is sent instead of what is listed
        self.interrupt = False  # press Ctrl-C once three quarters of the weights are sent, and send no more of them
        self.breaks = 0  # how often the connection breaks after three quarters of the weights
        self.asked: list[tuple[str, str | None]] = []  # file, Range header

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, path = parse_qs(url.query), unquote(url.path)
        if REPOSITORY not in path:
            return self.missing("RepoNotFound")
        if "/resolve/" in path:
            return self.send_file(path.split("/", 5)[5])
        if "FilePath" in query:
            return self.send_file(query["FilePath"][0])
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            return self.send_json([_listed(*item) for item in self.server.files.items()])
        if path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            if path.rsplit("/", 1)[1] not in ("main", COMMIT):
                return self.missing("RevisionNotFound")
            return self.send_json({"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": []})
        listed = [
            {"Path": name, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.server.files.items()
        ]
        return self.send_json({"Code": 200, "Success": True, "Data": {"Files": listed}})

    do_HEAD = do_GET

    def send_file(self, name: str) -> None:
        listed = self.server.files[name]
        if self.command == "HEAD":
            return self.answer(listed, listed)
        asked = self.headers["Range"]
        self.server.asked.append((name, asked))
        start = int(asked[6:-1]) if asked else 0
        return self.answer(self.server.sent.get(name, listed), listed, start, name.endswith("safetensors"))

    def answer(self, data: bytes, listed: bytes, start: int = 0, weights: bool = False) -> None:
        if weights and start and self.server.interrupt:  # threads of a client that was interrupted ask again
            return self.send_error(403)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(listed).hexdigest()}"')
        self.end_headers()
        if self.command == "HEAD":
            return None
        if not weights or not (self.server.interrupt or self.server.breaks):
            self.wfile.write(data[start:])
            return None
        self.close_connection = True
        self.wfile.write(data[: len(data) * 3 // 4])
        self.wfile.flush()
        if self.server.breaks:
            self.server.breaks -= 1
            return None
        end = time.monotonic() + 30
        while time.monotonic() < end and not _stored():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        return None

    def send_json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.answer(data, data)

    def missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


def _stored() -> bool:
    """Whether a client has written a part of the weights."""
    return any(path.stat().st_size > 1 << 20 for path in Path("models").rglob("*") if path.is_file())


def _listed(name: str, data: bytes) -> dict[str, object]:
    """A file as Hugging Face lists it: large ones in Git LFS, the others in Git."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    found: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": blob}
    if name.endswith("safetensors"):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return found
