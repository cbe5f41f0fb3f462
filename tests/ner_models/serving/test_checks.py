"""What `ner-model serve` refuses before anything slow starts."""

import json
import shlex
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_models.serving import process as server
from ner_models.serving.adapters import RANKS, served_rank
from ner_models.serving.command import on_cpu
from ner_models.serving.log import last_error, last_line
from ner_models.serving.state import STATE, Server, state_file
from serving_support import write_adapter, write_base, write_tensor
from support import Result, one_line_error

Cli = Callable[..., Result]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias terms"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: ['lm_head']"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"r": 513}, "rank 513 is above 512"),
        ({"rank_pattern": {"q_proj": 600}}, "rank 600 is above 512"),
        ({"peft_type": "IA3"}, "not IA3"),
    ],
)
def test_an_adapter_that_vllm_would_reject_is_refused_with_the_reason(
    base: Path, cli: Cli, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    adapter = write_adapter(tmp_path / "a", base, **changes)
    assert reason in one_line_error(cli("ner-model", "serve", adapter))


def test_ranks_are_rounded_up_to_what_vllm_accepts() -> None:
    assert [served_rank(rank) for rank in (1, 2, 8, 9, 16, 17, 33, 65, 129, 257, 321, 512)] == [
        1, 8, 8, 16, 16, 32, 64, 128, 256, 320, 512, 512,
    ]  # fmt: skip


@pytest.mark.serve
def test_the_ranks_are_those_of_the_installed_vllm() -> None:
    from typing import get_args

    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == RANKS


def test_an_adapter_in_a_pickle_file_is_not_loaded(base: Path, cli: Cli, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a", base)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "only safetensors are loaded" in one_line_error(cli("ner-model", "serve", adapter))


def test_a_folder_without_an_adapter_is_refused(cli: Cli, workplace: Path) -> None:
    assert "nowhere holds no adapter" in one_line_error(cli("ner-model", "serve", "nowhere"))


def test_a_missing_base_model_is_refused(cli: Cli, workplace: Path) -> None:
    adapter = write_adapter(workplace / "a", workplace / "gone")
    assert "gone: no model there" in one_line_error(cli("ner-model", "serve", adapter))


def test_one_name_for_two_adapters_is_refused(base: Path, cli: Cli, tmp_path: Path) -> None:
    one, other = write_adapter(tmp_path / "a", base), write_adapter(tmp_path / "b", base)
    message = one_line_error(cli("ner-model", "serve", f"x={one}", f"x={other}"))
    assert "two models are called x;" in message


def test_adapters_of_two_bases_are_refused(base: Path, cli: Cli, workplace: Path) -> None:
    other = workplace / "models/other"
    shutil.copytree(base, other)
    one, two = write_adapter(workplace / "a", base), write_adapter(workplace / "b", other)
    assert "several bases" in one_line_error(cli("ner-model", "serve", one, two))


@pytest.mark.serve
def test_a_port_that_another_program_holds_is_refused(base: Path, cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1 is busy" in one_line_error(
            cli("ner-model", "serve", "--base", base, "--port", port)
        )
        assert not STATE.exists()


@pytest.mark.serve
def test_the_command_names_everything_and_keeps_the_key_out_of_sight(base: Path, cli: Cli, tmp_path: Path) -> None:
    one = write_adapter(tmp_path / "saves/nano/lora/demo", base, r=9)
    other = write_adapter(tmp_path / "b", base)
    result = cli("ner-model", "serve", one, f"second={other}", "--base", base, "--api-key", "secret", "--dry-run")
    assert result.code == 0, result.err
    assert "--served-model-name base --max-model-len 1024 --generation-config vllm" in result.out
    assert (
        f"--max-loras {2 + on_cpu()} --max-lora-rank 16 --lora-modules nano-lora-demo={one} second={other}"
        in result.out
    )
    assert "--host 127.0.0.1 --port 8000" in result.out
    assert "secret" not in result.out


def test_stopping_without_a_server_says_so(workplace: Path, cli: Cli) -> None:
    result = cli("ner-model", "stop", "--port", 18999)
    assert (result.code, result.out) == (0, "no server started by ner-model runs on port 18999\n")


def test_the_state_of_a_server_that_died_is_forgotten(workplace: Path) -> None:
    Server(2**22 + 1, "127.0.0.1", 18999, ["x"], ["vllm"]).save()
    assert server.load_server(18999) is None
    assert not state_file(18999).exists()


def test_the_log_line_that_explains_a_failed_start_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "INFO a\nValueError: too long\n  at\nRuntimeError: Engine core initialization failed. See root cause\n"
    )
    assert last_error(log) == "ValueError: too long"


def spoil(folder: Path, name: str, data: bytes | None) -> None:
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)


HEADER = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
INDEX = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model.safetensors": None}, "no *.safetensors (none there), and only safetensors are loaded"),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "no *.safetensors (only *.bin)"),
        ({"model.safetensors.index.json": INDEX}, "lacks 2 of 2 weight files (model-1.safetensors, model-2"),
        ({"model.safetensors.index.json": INDEX, "model-1.safetensors": b"x"}, "lacks 1 of 2 weight files"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "../x"}}'}, "not an index of weight files"),
        ({"model.safetensors.index.json": b'{"weight_map": [1]}'}, "weight_map: expected object, got array"),
        ({"model.safetensors": b"\xff" * 7 + b"\0" + HEADER}, "truncated, or not a safetensors file"),
        ({"model.safetensors": bytes([len(HEADER), *[0] * 7]) + HEADER + b"\0\0"}, "truncated (64 bytes of 66)"),
        ({"model.safetensors": bytes([len(HEADER), *[0] * 7]) + HEADER + b"12345"}, "longer than its header says"),
        ({"model.safetensors": b"\x05" + b"\0" * 7 + b"[[[[["}, "its header is damaged"),
        ({"config.json": b'{"max_position_embeddings": "many"}'}, "max_position_embeddings: expected int"),
        ({"config.json": b"[" * 9999}, "nested more than 64 levels deep"),
    ],
)
def test_a_base_model_that_cannot_be_loaded_is_refused_before_the_start(base: Path, cli: Cli, files, said) -> None:
    for name, data in files.items():
        spoil(base, name, data)
    assert said in one_line_error(cli("ner-model", "serve", "--base", base, "--dry-run"))


def test_damaged_weights_of_an_adapter_are_refused(base: Path, cli: Cli, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a", base)
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert "truncated, or not a safetensors file" in one_line_error(cli("ner-model", "serve", adapter))
    prefix = write_adapter(tmp_path / "p", base, peft_type="PREFIX_TUNING", num_virtual_tokens=4)
    write_tensor(prefix / "adapter_model.safetensors", "prompt_embeddings", (3, 1))
    message = one_line_error(cli("ner-model", "serve", prefix))
    assert "prompt_embeddings is [3, 1], the configuration says 4 virtual tokens" in message


@pytest.mark.parametrize(
    "name", ["", "-x", "--trust-remote-code", "a b", "a\tb", "a/b", "a,b", "{}", "a\x1b[2Jb", "模'型"]
)
def test_a_name_that_is_no_name_is_refused(base: Path, cli: Cli, tmp_path: Path, name: str) -> None:
    for number, kind in enumerate(("LORA", "PREFIX_TUNING")):
        adapter = write_adapter(tmp_path / str(number), base, peft_type=kind, num_virtual_tokens=3)
        message = one_line_error(cli("ner-model", "serve", "--dry-run", "--", f"{name}={adapter}"))
        assert "cannot be a served model's name" in message and "\x1b" not in message


def test_a_folder_called_like_an_option_is_no_option(
    workplace: Path, cli: Cli, install: Callable[[str], None]
) -> None:
    install("vllm")
    base = write_base(workplace / "-base")
    prefix = write_adapter(workplace / "--trust-remote-code", base, peft_type="PREFIX_TUNING", num_virtual_tokens=3)
    assert "name" in one_line_error(cli("ner-model", "serve", "--dry-run", "--", prefix.name))
    shutil.copytree(base, workplace / "-x/base")
    done = cli("ner-model", "serve", "--base=-x/base", "--dry-run", "--", f"mine={prefix.name}")
    assert done.code == 0, done.err
    words = shlex.split(done.out)
    assert "--trust-remote-code" not in words and words[words.index("serve") + 1] == "./-x/base"


def test_a_comma_in_an_adapter_s_path_reaches_vllm_as_json(
    base: Path, cli: Cli, workplace: Path, install: Callable[[str], None]
) -> None:
    install("vllm")
    adapter = write_adapter(workplace / "a,b", base)
    words = shlex.split(cli("ner-model", "serve", f"x={adapter}", "--dry-run").out)
    assert json.loads(words[words.index("--lora-modules") + 1]) == {"name": "x", "path": str(adapter)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "--port 99999: a port is a number from 1 to 65535"),
        (["--port", "0"], "--port 0: a port is a number"),
        (["--port", "-1"], "--port -1: a port is a number"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: cannot listen there ("),
        (["--host", "192.0.2.1"], "--host 192.0.2.1: cannot listen there ("),
        (["--host=--help"], "--host '--help': not an address"),
        (["--host", "a\nb"], "not an address"),
        (["--host", ""], "not an address"),
        (["--timeout", "inf"], "--timeout inf: not a number of seconds"),
        (["--timeout", "nan"], "--timeout nan: not a number of seconds"),
        (["--timeout", "0"], "--timeout 0.0: not a number of seconds"),
        (["--dtype=--port"], "--dtype '--port': not one of auto, half"),
        (["--max-model-len", "0"], "--max-model-len 0: not a number of tokens"),
        (["--gpu-memory-utilization", "nan"], "--gpu-memory-utilization nan: not above 0 and up to 1"),
        (["--tensor-parallel-size", "0"], "--tensor-parallel-size 0: not a number of GPUs"),
        (["--api-key", "a\nb"], "--api-key: holds a space, a line break or"),
        (["--vllm-args", "--seed 'x"], '--vllm-args "--seed \'x": No closing quotation; quote it as a shell would'),
        (["--vllm-args", "--api-key x"], "--vllm-args: --api-key is refused (--api-key: use --api-key); remove it"),
        (["--vllm-args=--api_k=x"], "--vllm-args: --api_k=x is refused (--api-key: "),
        (["--vllm-args", "--port 1"], "--port is refused (--port: use --port)"),
        (["--vllm-args=--trust-remote-code"], "code of a model is never run"),
        (["--vllm-args", "--load-format pt"], "only safetensors are loaded"),
        (["--vllm-args", "--model x"], "name the model with --base"),
        (["--vllm-args", "--config x.yaml"], "give its options one by one"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_start(
    base: Path, cli: Cli, install: Callable[[str], None], words: list[str], said: str
) -> None:
    install("vllm")
    assert said in one_line_error(cli("ner-model", "serve", "--base", base, *words))
    assert not STATE.exists()


def test_stop_refuses_a_number_that_is_no_port(workplace: Path, cli: Cli) -> None:
    for port in (0, -1, 99999):
        assert f"--port {port}: a port is a number" in one_line_error(cli("ner-model", "stop", "--port", port))


def test_only_the_end_of_a_log_is_read_and_its_control_characters_are_escaped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(8 << 30)  # sparse: reading it all would take the machine's memory
        file.seek(8 << 30)
        file.write("\nValueError: \x1b]0;title\x07\x1b[2J\u2028wrong\n50%\r60%\n".encode())
    assert last_error(log) == "ValueError: \\u001b]0;title\\u0007\\u001b[2J\\u2028wrong"
    assert last_line(log) == "60%"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\u2028b", "a\udcffb"])
def test_a_folder_that_cannot_be_printed_is_refused(workplace: Path, cli: Cli, name: str) -> None:
    adapter = write_adapter(workplace / name, workplace / "base")
    for words in (["serve", f"x={adapter}"], ["serve", "--base", adapter], ["export", adapter, "out"]):
        assert "a character of this path cannot be printed" in one_line_error(cli("ner-model", *words))
