"""Graphics cards: memory, and the peak rate of their matrix units.

Rates are the vendor's, for dense products of bfloat16 summed in float32 (float16 on V100 and T4), from NVIDIA's
data sheets and, for GeForce, the GA102 and Ada white papers. A training reaches a share of them only. On a CPU the
share of what its matrix products reach was measured (docs/log.md, 2026-11-24: a step of the 0.5B took 2.4 times the
floor, which leaves out the recomputed layers). On a GPU it was not, and is assumed: published trainings of large
models report 0.2 to 0.46 (Chowdhery et al. 2022, arXiv:2204.02311, table 3); short rows and LoRA's small products
reach less.
"""

import os
import re
from dataclasses import dataclass

from ner_common.errors import UserError, one_line
from ner_common.machine import output_of

GIB = 1 << 30
ASSUMED = 0.3
MEASURED_ON_CPU = 0.6


@dataclass(frozen=True, slots=True)
class Card:
    """A device to train on.

    Attributes:
        name: as users write it; "cpu" for this machine without a GPU.
        memory: bytes.
        rate: operations per second at the peak; None if it is not known.
        share: the part of the rate that a training reaches.
    """

    name: str
    memory: int
    rate: float | None
    share: float = ASSUMED

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"


# Name -> GiB of memory, 10^12 operations per second.
CARDS = {
    "T4": (16, 65), "V100-16G": (16, 125), "V100": (32, 125), "RTX 3090": (24, 71), "RTX 4090": (24, 165),
    "A10": (24, 125), "L4": (24, 121), "L20": (48, 119.5), "L40S": (48, 362), "A40": (48, 149.7),
    "A100-40G": (40, 312), "A100": (80, 312),
    "H20": (96, 148), "H100": (80, 989), "H200": (141, 989),
}  # fmt: skip


def card_named(name: str) -> Card:
    """A card by a name of `CARDS`, "cpu", or what nvidia-smi calls it.

    Raises:
        UserError: there is no such card here.
    """
    if plain(name) == "cpu":
        return Card("cpu", _memory_here(), None, MEASURED_ON_CPU)
    wanted = plain(name)
    found = [known for known in CARDS if plain(known) in (wanted, f"rtx{wanted}")]
    # "NVIDIA A100-SXM4-40GB" is no A10.
    found = found or [known for known in CARDS if re.search(rf"{plain(known)}(?![0-9])", wanted)]
    if not found:
        raise UserError(f"--card {one_line(name)}: not one of cpu, {', '.join(CARDS)}; name one of the same size")
    memory, rate = CARDS[found[0]]
    return Card(found[0], memory * GIB, rate * 1e12)


def card_here() -> Card:
    """The first GPU of this machine, or its CPU."""
    first = output_of("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits").split("\n")[0]
    name, _, mebibytes = first.rpartition(", ")
    if not name or not mebibytes.isdecimal():
        return card_named("cpu")
    try:
        rate = card_named(name).rate
    except UserError:
        rate = None
    return Card(name, int(mebibytes) << 20, rate)


def processes_here() -> int:
    """How many processes a training on this machine's GPUs starts, by the variables that torchrun is told with."""
    listed = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    here = str(len(listed) if visible is None else len(list(filter(None, visible.split(",")))))
    counts = (os.environ.get("NPROC_PER_NODE", here), os.environ.get("NNODES", "1"))
    each, nodes = (int(count) if count.isdecimal() else 1 for count in counts)
    return max(each, 1) * max(nodes, 1)


def plain(name: str) -> str:
    """A card's name without what people write differently."""
    return name.lower().removeprefix("nvidia ").replace("geforce ", "").replace(" ", "").replace("-", "")


def _memory_here() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
