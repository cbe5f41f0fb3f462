"""Weight files, read and written a few megabytes at a time.

A safetensors file (see `ner_common.weights`) holds the tensors' bytes, row-major. Nothing is computed here, so bytes
are copied and no tensor is built. Not through safetensors' own `safe_open`: it maps the whole file into memory, and a
single file of 12.5 GB would exceed the 4 GiB that a conversion may take. A ``.bin`` shard is a pickle: `torch.load`
maps it into memory and, with `weights_only`, builds tensors and runs nothing.
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line, rooted
from ner_common.weights import INDEX, SINGLE, indexed_files, stored_tensors

BYTES = {"F32": 4, "F16": 2, "BF16": 2}
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CHUNK = 16 * 2**20
AGAIN = "download it again"
Chunk = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: safetensors' name of its type, its shape, and a reader of its bytes between two rows."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[int, int], Iterator[Chunk]]


def find_shards(source: Path) -> list[Path]:
    """The weight files of a checkpoint, safetensors before ``.bin``.

    Raises:
        UserError: there are none, or some that the index names are missing.
    """
    complaints = []
    for index, single in (
        (source / INDEX, SINGLE),
        (source / "pytorch_model.bin.index.json", "pytorch_model.bin"),
    ):
        names = indexed_files(index, AGAIN) if index.is_file() else {single}
        lacking = sorted(name for name in names if not (source / name).is_file())
        if not lacking:
            return [source / name for name in sorted(names)]
        if index.is_file():
            shown = ", ".join(lacking)
            complaints.append(f"{rooted(source)}: lacks {len(lacking)} of {len(names)} shards ({shown}); {AGAIN}")
    nothing = f"{rooted(source)}: no weights (model*.safetensors or pytorch_model*.bin); {AGAIN}"
    raise UserError(complaints[0] if complaints else nothing)


def open_shard(path: Path) -> dict[str, Stored]:
    """The tensors of one weight file, by name.

    Raises:
        UserError: the file is truncated, damaged, or holds something other than weights.
    """
    return _open_safetensors(path) if path.suffix == ".safetensors" else _open_bin(path)


def _open_safetensors(path: Path) -> dict[str, Stored]:
    try:
        tensors = stored_tensors(path)
    except ValueError as error:
        raise UserError(f"{rooted(path)}: {error}; {AGAIN}") from None
    start = path.stat().st_size - max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    return {
        name: _slice(path, start, name, tensor.dtype, tuple(tensor.shape), *tensor.data_offsets)
        for name, tensor in tensors.items()
    }


def _slice(path: Path, base: int, name: str, dtype: str, shape: tuple[int, ...], start: int, stop: int) -> Stored:
    if dtype not in BYTES:
        raise UserError(f"{rooted(path)}: {name} is {dtype}; only {', '.join(BYTES)} tensors can be converted")
    if stop - start != prod(shape) * BYTES[dtype]:
        raise UserError(f"{rooted(path)}: the bytes of {name} do not fit its shape {list(shape)}; {AGAIN}")
    row = prod(shape[1:]) * BYTES[dtype]

    def read(first: int, last: int) -> Iterator[Chunk]:
        with path.open("rb") as file:
            file.seek(base + start + first * row)
            left = (last - first) * row
            while left > 0:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise UserError(f"{rooted(path)}: became shorter while it was read; {AGAIN}")
                left -= len(chunk)
                yield chunk

    return Stored(dtype, shape, read)


def _open_bin(path: Path) -> dict[str, Stored]:
    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # zip, pickle and torch raise errors of their own for a damaged or hostile file
        problem = one_line(str(error).split("\n", 1)[0], 120)
        raise UserError(f"{rooted(path)}: torch cannot read it as weights only ({problem}); {AGAIN}") from None
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    found = {}
    for name, tensor in tensors.items() if isinstance(tensors, dict) else ():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in names:
            what = getattr(tensor, "dtype", type(tensor).__name__)
            raise UserError(f"{rooted(path)}: {name} is {what}; only {', '.join(BYTES)} tensors can be converted")
        found[str(name)] = Stored(names[tensor.dtype], tuple(tensor.shape), _tensor_reader(tensor))
    if not found:
        raise UserError(f"{rooted(path)}: holds no named tensors; {AGAIN}")
    return found


def _tensor_reader(tensor: Any) -> Callable[[int, int], Iterator[Chunk]]:
    import torch

    def read(first: int, last: int) -> Iterator[Chunk]:
        rows = max(1, CHUNK // max(1, tensor[:1].nbytes))
        for start in range(first, last, rows):
            part = tensor[start : min(start + rows, last)].contiguous()
            yield memoryview(part.view(torch.uint8).numpy()).cast("B")

    return read


def write_shard(path: Path, entries: list[tuple[str, str, tuple[int, ...]]], chunks: Iterable[Chunk]) -> int:
    """Write a safetensors file and return the size of its tensors in bytes.

    Args:
        path: the file; it is on the disk when this returns.
        entries: (name, dtype, shape) in the order of their bytes.
        chunks: the bytes of all entries, one after the other.

    Raises:
        ValueError: the chunks are not as long as the entries say.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape in entries:
        start, end = end, end + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        written = sum(file.write(chunk) for chunk in chunks)
        file.flush()
        os.fsync(file.fileno())
    if written != end:
        raise ValueError(f"{path}: {written} bytes written, {end} announced")
    return end
