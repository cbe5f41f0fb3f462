"""What a safetensors file and the index of several say of themselves: read without safetensors, without the tensors.

A file is 8 bytes (little-endian length), a JSON header of that length, and the tensors' bytes at the header's offsets
(https://github.com/huggingface/safetensors, "Format").
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from ner_common.decoding import SIZE, convert, decode_json
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import read_json

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 50)]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor in the header: safetensors' name of its type, its shape, and where its bytes are after the header."""

    dtype: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]{1,16}\Z")]
    shape: list[_Size]
    data_offsets: tuple[_Size, _Size]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def safetensors_header(path: Path) -> bytes:
    """The JSON header of a safetensors file as it is stored; shorter than announced if the file is truncated."""
    return _announced_and_stored(path)[1]


def _announced_and_stored(path: Path) -> tuple[int, bytes]:
    """The length of the header in bytes as the file announces it, and the header."""
    with path.open("rb") as file:
        announced = int.from_bytes(file.read(8), "little")
        return announced, file.read(min(announced, path.stat().st_size, SIZE + 1))


def stored_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        ValueError: the file is truncated, longer than its header says, or the header is damaged; the message is the
            problem only.
    """
    size = path.stat().st_size
    announced, header = _announced_and_stored(path)
    if size < 8 or announced > size - 8:
        raise ValueError(f"truncated, or not a safetensors file ({size:,} bytes)")
    try:
        entries = decode_json(header, dict[str, Any])
        entries.pop("__metadata__", None)
        tensors = convert(entries, dict[str, Tensor])
    except ValueError as error:
        raise ValueError(f"its header is damaged ({escaped(str(error), 120)})") from None
    for name, tensor in tensors.items():
        if tensor.data_offsets[0] > tensor.data_offsets[1] or not name.isprintable():
            raise ValueError(f"its header is damaged (at {one_line(name)})")
    end = 8 + len(header) + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if size != end:
        raise ValueError(f"{'truncated' if size < end else 'longer than its header says'} ({size:,} bytes of {end:,})")
    return tensors


def indexed_files(index: Path, remedy: str) -> set[str]:
    """The names of the weight files that an index (``*.index.json``) lists.

    Raises:
        UserError: it is no index, or leads out of its folder.
    """
    names = set(read_json(index, remedy, _Index).weight_map.values())
    if not names or any(
        Path(name).name != name or not name.isprintable() or len(name.encode()) > 255 for name in names
    ):
        raise UserError(f"{rooted(index)}: not an index of weight files; {remedy}")
    return names


def check_weights(folder: Path, remedy: str) -> None:
    """Refuse a model's folder whose safetensors are missing, incomplete, truncated or damaged; only headers are read.

    Raises:
        UserError: see above.
    """
    index = folder / INDEX
    names = indexed_files(index, remedy) if index.is_file() else {p.name for p in folder.glob("*.safetensors")}
    if not names:
        pickles = "only *.bin" if any(folder.glob("*.bin")) else "none there"
        raise UserError(f"{rooted(folder)}: no *.safetensors ({pickles}), and only safetensors are loaded; {remedy}")
    if lacking := sorted(name for name in names if not (folder / name).is_file()):
        shown = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
        raise UserError(f"{rooted(folder)}: lacks {len(lacking)} of {len(names)} weight files ({shown}); {remedy}")
    for name in sorted(names):
        try:
            stored_tensors(folder / name)
        except ValueError as error:
            raise UserError(f"{rooted(folder / name)}: {error}; {remedy}") from None
