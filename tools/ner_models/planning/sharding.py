"""What a training spreads over several processes: by DeepSpeed's ZeRO, or by PyTorch's FSDP.

ZeRO divides what is held for the trained numbers by the processes: the optimizer's state from stage 1 on, the
gradients from stage 2 on, the weights in stage 3 (Rajbhandari et al. 2020, arXiv:1910.02054, section 5). FSDP's
``full_shard`` divides what stage 3 does, ``shard_grad_op`` what stage 2 does (Zhao et al. 2023, arXiv:2304.11277,
section 3.2).
"""

import math
from dataclasses import dataclass
from typing import Any

from llamafactory_ner.checks.arguments import zero_stage
from llamafactory_ner.methods import is_set

OPTIMIZER, GRADIENTS, WEIGHTS = 1, 2, 3  # the stage from which each of them is divided


@dataclass(frozen=True, slots=True)
class Sharding:
    """How a training is spread.

    Attributes:
        processes: one for each GPU.
        stage: ZeRO's; 0: each process holds everything.
        deepspeed: whether DeepSpeed does it, which trains 16-bit weights beside copies in float32.
    """

    processes: int = 1
    stage: int = 0
    deepspeed: bool = False

    def share(self, size: int, stage: int) -> int:
        """What one process holds of something that is divided from a stage on."""
        return math.ceil(size / self.processes) if self.stage >= stage else size


def sharding_of(given: dict[str, Any], processes: int) -> Sharding:
    """How a recipe is spread over so many processes.

    Raises:
        UserError: its DeepSpeed configuration is not JSON.
    """
    if given.get("deepspeed"):
        return Sharding(processes, zero_stage(given["deepspeed"]) or 0, deepspeed=True)
    fsdp = str(given.get("fsdp") or "")
    if "no_shard" in fsdp or not is_set(fsdp):
        return Sharding(processes)
    return Sharding(processes, GRADIENTS if "shard_grad_op" in fsdp or "_zero2" in fsdp else WEIGHTS)
