"""The number format of a training on a CPU: recipes say ``bf16: true``, in which a CPU without it is ten times slower.

On a GPU nothing changes. What is written on the command line (``bf16=true``, ``bf16=false``) is taken as it is.
"""

import sys
from typing import Any

from llamafactory_ner.checks.refusal import note
from llamafactory_ner.methods import METHODS, is_set
from ner_common.machine import NumberFormat, cpu_number_format

OVERRIDE = "bf16=true or bf16=false"
# Their weights stay as they are, so these may be rounded to the format once instead of at every use.
FROZEN_BASE = {"lora", *METHODS}


def suited(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a run, with the number format that suits this machine; says which was chosen, and why."""
    if not (is_set(given.get("do_train")) and is_set(given.get("bf16")) and trains_on_cpu(given)):
        return given
    if any(word.startswith("bf16=") for word in sys.argv[1:]):
        chosen = NumberFormat("bfloat16", "as asked")
    else:
        chosen = cpu_number_format()
        note(chosen.said(OVERRIDE))
    # transformers refuses bf16 without a GPU unless it is told that this is meant.
    return {**given, "bf16": chosen.name == "bfloat16", "use_cpu": True}


def in_format(model: Any, wanted: Any, frozen: bool) -> Any:
    """A base model in the number format that it is trained in; weights are loaded as they were published.

    Args:
        model: as loaded; on a GPU, or quantised, it is returned as it is.
        wanted: torch's dtype; bfloat16 only matters if the weights are ``frozen``.
    """
    import torch

    if model.device.type != "cpu" or getattr(model, "quantization_method", None) is not None:
        return model
    if wanted is torch.float32 or (wanted is torch.bfloat16 and frozen):
        return model.to(wanted)
    return model


def trains_on_cpu(given: dict[str, Any]) -> bool:
    """Whether the host would train on the CPU."""
    if is_set(given.get("use_cpu")):
        return True
    import torch

    return not torch.accelerator.is_available()
