"""Random soft-prompt and LoRA adapters of nano and of a small chatglm3."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ner_data.prompt import FILE_NAME
from ner_models.serving import identity
from serving_support import install_stand_in, processes, write_base
from soft_prompt_support import NANO, prompt_spec
from support import free_port


@pytest.fixture(scope="session")
def adapters(tmp_path_factory) -> dict[str, Path]:
    """Random adapters, strong enough to change most answers: parity does not ask what they have learned."""
    import torch
    from peft import LoraConfig, PrefixTuningConfig, PromptEncoderConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    kinds = {
        "lora": LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, target_modules="all-linear", init_lora_weights=False),
        "prefix64": PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=64),
        "prefix72": PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=72),
        "ptuning": PromptEncoderConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=16),
        "ptuning24": PromptEncoderConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=24),
    }
    folders = {}
    for name, config in kinds.items():
        torch.manual_seed(sum(map(ord, name)))
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(NANO), config)
        if name == "lora":
            for key, weight in model.named_parameters():
                if "lora_B" in key:
                    weight.data *= 0.3
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        model.save_pretrained(folders[name])
        prompt_spec().save(folders[name] / FILE_NAME)
    return folders


@pytest.fixture(scope="session")
def glm(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A small random chatglm3, converted, a P-tuning adapter for it (its output layer is not tied), and a prefix."""
    import torch
    from peft import PrefixTuningConfig, PromptEncoderConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    from chatglm_support import train_tokenizer, write_checkpoint
    from ner_models.chatglm3.convert import convert

    folder = tmp_path_factory.mktemp("glm")
    write_checkpoint(folder / "src", train_tokenizer(folder / "tiny"))
    convert(folder / "src", folder / "glm")
    for kind, count in ((PromptEncoderConfig, 16), (PrefixTuningConfig, 72)):
        torch.manual_seed(0)
        config = kind(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=count)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "glm"), config)
        model.save_pretrained(folder / kind.__name__)
    return folder / "glm", folder / "PromptEncoderConfig", folder / "PrefixTuningConfig"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install the stand-in for vLLM, for this process and for those that it starts."""

    def put(distribution: str) -> None:
        install_stand_in(tmp_path / "site", distribution)
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))

    return put


@pytest.fixture
def base(workplace: Path) -> Iterator[Path]:
    """A base model's files; whatever a failed test leaves running on it is ended."""
    folder = write_base(workplace / "models/base")
    yield folder
    for number in processes(str(folder)):
        os.kill(number, 9)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stranger(workplace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another user's server, whose command contains "vllm", in a session of its own."""
    command = [sys.executable, "-c", "import time; time.sleep(600)", "vllm", "serve"]
    with subprocess.Popen(command, start_new_session=True) as process:
        while identity.command(process.pid) != command:
            time.sleep(0.01)
        yield process
        assert process.poll() is None, "a stranger was ended"
        process.kill()
