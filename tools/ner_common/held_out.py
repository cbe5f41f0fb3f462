"""Which records a training held out: ``ner_held_out.json`` beside the adapter, written when training starts.

::

    {"datasets": ["demo_train"], "val_size": 0.1, "seed": 42, "texts": "5c1f… (64 digits)",
     "records": ["demo-train-1390", "demo-train-7", …]}

LLaMA-Factory draws them, with ``val_size`` and ``seed``; this is what it drew, so nothing has to be drawn again.
``texts`` is a checksum of what the model is asked for them (`texts_checksum`): ids alone would also fit a file that
was changed afterwards.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from ner_common.files import read_json, write_json

FILE_NAME = "ner_held_out.json"
Id = Annotated[str, Meta(min_length=1, max_length=1000)]


class HeldOut(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds, see above."""

    datasets: Annotated[tuple[str, ...], Meta(min_length=1)]
    val_size: Annotated[float, Meta(gt=0)]
    seed: int
    texts: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    records: Annotated[tuple[Id, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if len(set(self.records)) < len(self.records):
            raise ValueError("records: one of them is a duplicate")


def texts_checksum(asked: Iterable[tuple[str, str]]) -> str:
    """SHA-256 (hex) of (id, user turn) pairs in their order."""
    total = hashlib.sha256()
    for pair in asked:
        total.update(json.dumps(pair).encode() + b"\n")
    return total.hexdigest()


def read_held_out(folder: Path, remedy: str) -> HeldOut | None:
    """The held-out records of the training that wrote an adapter's folder; None if they are not recorded.

    Raises:
        UserError: the file is damaged or was edited.
    """
    path = folder / FILE_NAME
    return read_json(path, remedy, HeldOut) if path.is_file() else None


def write_held_out(folder: Path, held_out: HeldOut) -> None:
    """Write the file, all or nothing."""
    write_json(folder / FILE_NAME, asdict(held_out), ascii_only=True)
