"""What `ner-model serve` refuses before anything slow starts."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ner_models.serving import process as server
from ner_models.serving.adapters import RANKS, served_rank
from ner_models.serving.command import on_cpu
from ner_models.serving.log import last_error
from ner_models.serving.state import STATE, Server, state_file
from serving_support import write_adapter, write_base
from support import Result, one_line_error

Cli = Callable[..., Result]


@pytest.fixture
def base(workplace: Path) -> Path:
    return write_base(workplace / "models/base")


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
