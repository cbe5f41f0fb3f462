"""Which scheme a model's weights are in, and what this machine cannot run."""

from pathlib import Path
from typing import Any

import pytest

from llamafactory_ner.checks.configs import ModelConfig
from ner_models import schemes
from ner_models.schemes import AWQ, INT8, obstacle, stored_scheme


def compressed(bits: int, activations: int | None, kind: str = "int") -> dict[str, Any]:
    """``quantization_config`` as compressed-tensors writes it."""
    inputs = activations and {"num_bits": activations, "type": kind, "dynamic": True}
    group = {"weights": {"num_bits": bits, "type": kind}, "input_activations": inputs, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "format": "x", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("stored", "scheme"),
    [
        (compressed(4, None), AWQ),
        (compressed(8, 8), INT8),
        (compressed(8, None), None),
        (compressed(8, 8, "float"), None),
        (compressed(4, 8), None),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, AWQ),
        ({"quant_method": "gptq", "bits": 4}, AWQ),
        ({"quant_method": "gptq", "bits": 8}, None),
        ({"quant_method": "fp8"}, None),
        ({"config_groups": {"group_0": {"weights": {"num_bits": "four"}}}}, None),
        ({"config_groups": 4, "bits": None}, None),
        (None, None),
    ],
)
def test_the_scheme_of_a_model_is_read_from_its_configuration(stored: dict[str, Any] | None, scheme: str | None):
    assert stored_scheme(ModelConfig(quantization_config=stored)) == scheme


AVX2, AVX512 = frozenset({"avx2", "fma"}), frozenset({"avx2", "avx512f"})


@pytest.mark.parametrize(
    ("scheme", "flags", "dtype", "words"),
    [
        (AWQ, AVX2, "bfloat16", "4-bit weights need AVX-512 on a CPU, which this one lacks; use int8: make quantize"),
        (AWQ, None, "bfloat16", "4-bit weights need AVX-512"),
        (AWQ, AVX512, "float32", "4-bit weights are not computed in float32; serve them in bfloat16"),
        (AWQ, AVX512, "bfloat16", None),
        (AWQ, AVX512, "half", None),
        (INT8, AVX2, "float32", None),
        (None, AVX2, "float32", None),
    ],
)
def test_a_cpu_runs_4_bit_weights_with_avx512_only(
    monkeypatch: pytest.MonkeyPatch, scheme: str | None, flags: frozenset[str] | None, dtype: str, words: str | None
) -> None:
    monkeypatch.setattr(schemes, "cpu_flags", lambda: flags)
    found = obstacle(scheme, dtype, on_cpu=True)
    assert found is None if words is None else found and found.startswith(words)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An nvidia-smi that reports these compute capabilities."""

    def put(*capabilities: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo {one}\n" for one in capabilities))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


@pytest.mark.parametrize(
    ("scheme", "capabilities", "words"),
    [
        (AWQ, ["7.0"], "quantised weights need a GPU of compute capability 7.5, this one has 7.0; serve the model"),
        (INT8, ["8.0", "7.0"], "quantised weights need a GPU of compute capability 7.5"),
        (INT8, ["12.0"], "vLLM has no 8-bit integers on this GPU (compute capability 12.0); use awq: make quantize"),
        (INT8, ["10.0"], "vLLM has no 8-bit integers"),
        (INT8, ["7.5"], None),
        (INT8, ["9.0", "9.0"], None),
        (AWQ, ["12.0"], None),
        (AWQ, ["[N/A]"], None),
        (None, ["7.0"], None),
    ],
)
def test_what_a_gpu_cannot_run_follows_from_its_compute_capability(
    card, scheme: str | None, capabilities: list[str], words: str | None
) -> None:
    card(*capabilities)
    found = obstacle(scheme, None, on_cpu=False)
    assert found is None if words is None else found and found.startswith(words)
