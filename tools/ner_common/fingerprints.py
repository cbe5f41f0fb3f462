"""Fingerprints of weights (has a model been retrained, do two folders hold the same model?) and of prompts.

A fingerprint of weights covers names, sizes and, of every safetensors file, 64 evenly spaced blocks of 64 KiB (files
up to 4 MiB whole): reading 15 GB would take longer than asking a thousand questions, and every tensor changes in
training.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ner_common.weights import safetensors_header

_BLOCK, _BLOCKS = 1 << 16, 64  # bytes, blocks per file


def weights_fingerprint(folder: Path | None) -> str | None:
    """16 hex digits that change when a model or adapter is trained again; None if no weights can be read.

    The model's or adapter's configuration is included.
    """
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not folder or not files:
        return None
    total = hashlib.sha256()
    for path in [*(folder / name for name in ("config.json", "adapter_config.json")), *files]:
        size = path.stat().st_size if path.exists() else 0
        total.update(f"{path.name} {size}\n".encode())
        if size:
            _add_blocks(total, path, size)
    return total.hexdigest()[:16]


def prompt_fingerprint(system: str, instruction: str, labels: Iterable[str], answer_form: str, again: str = "") -> str:
    """16 hex digits of the SHA-256 of everything that a model is asked with and must answer with, but the text."""
    seen = [system, instruction, list(labels), answer_form, *([again] if again else [])]
    return hashlib.sha256(json.dumps(seen, ensure_ascii=False).encode()).hexdigest()[:16]


def other_weights(one: Path, other: Path) -> bool:
    """Whether two folders hold the same tensors with different values; False if that is unknown."""
    if one.resolve() == other.resolve():
        return False
    files = (sorted(folder.glob("*.safetensors")) for folder in (one, other))
    pairs = zip(*files, strict=False)
    try:
        return any(
            safetensors_header(a) == safetensors_header(b) and file_fingerprint(a) != file_fingerprint(b)
            for a, b in pairs
        )
    except OSError:
        return False


def file_fingerprint(path: Path) -> str:
    """16 hex digits that change when one file of weights does."""
    digest = hashlib.sha256()
    _add_blocks(digest, path, path.stat().st_size)
    return digest.hexdigest()[:16]


def _add_blocks(digest: "hashlib._Hash", path: Path, size: int) -> None:
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek(max(block * _BLOCK, block * (size - _BLOCK) // (_BLOCKS - 1)))
            digest.update(file.read(_BLOCK))
