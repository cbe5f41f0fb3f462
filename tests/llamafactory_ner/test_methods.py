"""A finetuning type of the plugin is one entry of one table: adding one needs no other change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.train

# PEFT's prompt tuning: trained input vectors without an MLP.
WITH_PROMPT_TUNING = """
import json, sys
from llamafactory_ner.methods import METHODS, Method

def config(arguments):
    from peft import PromptTuningConfig, TaskType
    return PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=arguments.num_virtual_tokens)

METHODS["prompt_tuning"] = Method(
    name="prompt_tuning", peft_type="PROMPT_TUNING", arguments=("num_virtual_tokens", "pre_seq_len"),
    in_every_layer=False, mlp=False, peft_config=config, instead_of_merging="ner-model export",
)
from llamafactory.train.tuner import run_exp
run_exp(json.loads(sys.argv[1]))
"""


def run(args: dict[str, object]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AUTOWRAPT_BOOTSTRAP": "llamafactory_ner"}
    command = [sys.executable, "-c", WITH_PROMPT_TUNING, json.dumps(args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_another_method_trains_resumes_its_adapter_and_is_checked(recipe, tmp_path: Path) -> None:
    first = recipe(finetuning_type="prompt_tuning", output_dir=str(tmp_path / "first"), max_steps=2)
    done = run(first)
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((tmp_path / "first/adapter_config.json").read_text())
    assert (config["peft_type"], config["num_virtual_tokens"]) == ("PROMPT_TUNING", 7)
    assert not (tmp_path / "first/prompt_encoder.safetensors").exists()

    further = run(first | {"adapter_name_or_path": str(tmp_path / "first"), "output_dir": str(tmp_path / "further")})
    assert further.returncode == 0, further.stderr[-3000:]

    refused = run(first | {"prefix_projection": True, "lora_rank": 8, "output_dir": str(tmp_path / "refused")})
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("llamafactory_ner: ")]
    assert "lora_rank: not an argument of prompt_tuning" in line
    assert "prefix_projection: not an argument of prompt_tuning; remove it" in line
