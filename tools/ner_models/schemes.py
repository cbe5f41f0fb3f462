"""Quantised weights: what `ner-model quantize` writes, what a model's folder holds, and what vLLM runs where.

The limits are those of vLLM 0.32, read in its source and, on CPUs, tried: it starts with a format that the hardware
lacks, reports that it is healthy, and ends at the first request. Other formats than these two are left to vLLM.
"""

from typing import Annotated

from msgspec import Meta, Struct

from llamafactory_ner.checks.configs import ModelConfig
from ner_common.decoding import convert
from ner_common.machine import cpu_flags, gpu_capabilities

AWQ, INT8 = "awq", "int8"
SCHEMES = {
    AWQ: "4-bit weights (W4A16, calibrated): GPUs, and CPUs with AVX-512",
    INT8: "8-bit weights and activations (W8A8): CPUs, and GPUs from compute capability 7.5 up to 9.0",
}
# Compute capabilities: from Turing on for both; no int8 kernel is chosen for Blackwell that it could run.
OLDEST, BLACKWELL = 7.5, 10.0
NOT_FOR_INT4 = ("float", "float32")
_Bits = Annotated[int, Meta(ge=1, le=64)]


class _Numbers(Struct, frozen=True):
    num_bits: _Bits = 16
    type: str = "float"


class _Group(Struct, frozen=True):
    weights: _Numbers | None = None
    input_activations: _Numbers | None = None


class _Stored(Struct, frozen=True):
    """``quantization_config`` of a config.json as compressed-tensors writes it, or AutoAWQ and AutoGPTQ (``bits``)."""

    quant_method: str = ""
    config_groups: dict[str, _Group] = {}
    bits: _Bits | None = None


def stored_scheme(config: ModelConfig) -> str | None:
    """The scheme that a model's weights are in (`AWQ` for any 4-bit weights); None if they are in no known one."""
    try:
        stored = convert(config.quantization_config or {}, _Stored)
    except ValueError:
        return None
    if stored.quant_method in ("awq", "gptq") and stored.bits == 4:
        return AWQ
    groups = [group for group in stored.config_groups.values() if group.weights and group.weights.type == "int"]
    if any(group.weights.num_bits == 4 and not group.input_activations for group in groups if group.weights):
        return AWQ
    if any(group.weights.num_bits == 8 and group.input_activations for group in groups if group.weights):
        return INT8
    return None


def obstacle(scheme: str | None, dtype: str | None, *, on_cpu: bool) -> str | None:
    """Why vLLM could not run a scheme on this machine, and what to do instead; None if it can.

    Args:
        scheme: see `stored_scheme`.
        dtype: the number format to compute in; None: not chosen yet.
        on_cpu: whether vLLM computes on the CPU.
    """
    if scheme == AWQ and on_cpu:
        if "avx512f" not in (cpu_flags() or ()):
            return f"4-bit weights need AVX-512 on a CPU, which this one lacks; {_instead(INT8)}"
        if dtype in NOT_FOR_INT4:
            return f"4-bit weights are not computed in {dtype}; serve them in bfloat16 (--dtype, make: DTYPE=bfloat16)"
    if scheme is None or on_cpu:
        return None
    cards = gpu_capabilities()
    if oldest := [card for card in cards if card < OLDEST]:
        remedy = "serve the model that was quantised, with DTYPE=half"
        return f"quantised weights need a GPU of compute capability {OLDEST}, this one has {oldest[0]}; {remedy}"
    if scheme == INT8 and any(card >= BLACKWELL for card in cards):
        return f"vLLM has no 8-bit integers on this GPU (compute capability {max(cards)}); {_instead(AWQ)}"
    return None


def _instead(scheme: str) -> str:
    return f"use {scheme}: make quantize SCHEME={scheme}, then make serve QUANTIZED={scheme}"
