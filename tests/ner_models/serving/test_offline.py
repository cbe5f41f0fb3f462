"""`ner-model answer-batch`: what it refuses. That it answers as a server does: ner_eval/inference/test_batch_file.py."""

from pathlib import Path

import pytest

from serving_support import write_adapter
from support import Result, one_line_error

ANSWER = ("answer-batch", "--requests", "requests.jsonl", "--results", "results.jsonl")


def test_no_requests_is_one_line(workplace: Path, base: Path, cli) -> None:
    message = one_line_error(cli("ner-model", *ANSWER, "--base", base))
    assert message == "ner-model: requests.jsonl: no such file; write it with `ner-eval predict --batch`"


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "P_TUNING"])
def test_soft_prompts_need_a_server(workplace: Path, base: Path, cli, kind: str) -> None:
    Path("requests.jsonl").touch()
    write_adapter(Path("soft"), base, peft_type=kind, num_virtual_tokens=3)
    message = one_line_error(cli("ner-model", *ANSWER, "soft", "--base", base))
    assert message.startswith(f"ner-model: soft: {kind} needs our server") and message.endswith(
        "; use `make serve eval`"
    )


def test_if_vllm_fails_no_results_are_left(workplace: Path, base: Path, cli) -> None:
    Path("requests.jsonl").touch()
    Path("results.jsonl.part").write_text("half")
    result: Result = cli("ner-model", *ANSWER, "--base", base)  # its weights are none
    assert result.code == 2 and result.err.splitlines()[-1].startswith("ner-model: vLLM ended with exit code ")
    assert not list(Path().glob("results*"))
