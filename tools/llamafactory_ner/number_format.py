"""The number format of a training: recipes say ``bf16: true``, in which a machine without it is many times slower.

A CPU without it computes in float32. A GPU without it (before Ampere) computes in float16; torch and transformers
would let it emulate bfloat16. What is written on the command line (``bf16=true``, ``bf16=false``) is taken as it is.
"""

import sys
from collections.abc import Mapping
from typing import Any

from llamafactory_ner.checks.refusal import note
from llamafactory_ner.methods import METHODS, is_set
from ner_common.machine import NumberFormat, cpu_number_format

OVERRIDE = "bf16=true or bf16=false"
# Their weights stay as they are, so these may be rounded to the format once instead of at every use.
FROZEN_BASE = {"lora", *METHODS}


def suited(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a run, with the number format that suits this machine; says which was chosen, and why."""
    if not (is_set(given.get("do_train")) and is_set(given.get("bf16"))):
        return given
    asked = any(word.startswith("bf16=") for word in sys.argv[1:])
    if not trains_on_cpu(given):
        if asked or not emulates_bfloat16():
            return given
        note(NumberFormat("float16", "this GPU has no bfloat16 and would emulate it").said(OVERRIDE))
        return {**given, "bf16": False, "fp16": True}
    if asked:
        chosen = NumberFormat("bfloat16", "as asked")
    else:
        chosen = cpu_number_format()
        note(chosen.said(OVERRIDE))
    # transformers refuses bf16 without a GPU unless it is told that this is meant.
    return {**given, "bf16": chosen.name == "bfloat16", "use_cpu": True}


def in_format(model: Any, wanted: Any, frozen: bool, on_cpu: bool) -> Any:
    """A base model in the number format that it is trained in; weights are loaded as they were published.

    Args:
        model: as loaded; if it is quantised, it is returned as it is.
        wanted: torch's dtype; 16 bits only matter if the weights are ``frozen``.
        on_cpu: on a GPU, only float16 matters: a card without bfloat16 would convert weights in it at every use.
    """
    import torch

    if getattr(model, "quantization_method", None) is not None:
        return model
    if not on_cpu:
        from transformers.integrations import is_deepspeed_zero3_enabled

        # ZeRO-3 has taken the weights apart already, in the format of its own configuration.
        return model.to(wanted) if wanted is torch.float16 and frozen and not is_deepspeed_zero3_enabled() else model
    if wanted is torch.float32 or (wanted is torch.bfloat16 and frozen):
        return model.to(wanted)
    return model


def emulates_bfloat16() -> bool:
    """Whether the GPU of this process has no bfloat16 of its own: NVIDIA's of compute capability below 8.0."""
    import torch

    return torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)


def trains_on_cpu(given: Mapping[str, Any]) -> bool:
    """Whether the host would train on the CPU."""
    if is_set(given.get("use_cpu")):
        return True
    import torch

    return not torch.accelerator.is_available()
