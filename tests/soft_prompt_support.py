"""Ask vLLM servers with soft prompts, and PEFT for the answers they must give.

Used in the train environment (PEFT); `ner-model serve` starts the server from the serve environment.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

from ner_data import demo
from ner_data.answers import json_list
from ner_data.prompt import SYSTEM, PromptSpec, instruction
from serving_support import processes
from support import ROOT, assert_free

SERVE_PYTHON = Path(os.environ.get("NER_SERVE_PYTHON", ROOT / ".venv-serve/bin/python"))
NANO = Path(os.environ.get("NER_TEST_BASE", ROOT / "data/nano"))
OURS = os.environ | {"PYTHONPATH": f"{ROOT / 'tools'}:{ROOT / 'eval'}", "AUTOWRAPT_BOOTSTRAP": ""}
NER_MODEL = [str(SERVE_PYTHON), "-c", "from ner_models.cli import entry_point; entry_point()"]
PORT, KEY = 8391, "secret"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PROMPTS, ANSWER = 60, 32
# A prefix of 64 tokens fills two blocks, one of 72 shares its third with the text.
BLOCKS = "--block-size 32"
SMALL_CACHE = f"{BLOCKS} --kv-cache-memory-bytes {11 << 20}"  # about 1,500 tokens of nano


def prompt_spec() -> PromptSpec:
    asked = instruction(list(demo.LABELS.items()), json_list.NAME)
    return PromptSpec("demo", SYSTEM, asked, tuple(demo.LABELS), json_list.NAME, ANSWER)


def messages(short: bool = False) -> list[list[dict[str, str]]]:
    """Conversations as nano knows them: its answers to others are loops with many equally likely tokens."""
    texts = [text for text, _ in demo.sentences()["test"][:PROMPTS]]
    return [[{"role": "user", "content": text}] if short else prompt_spec().messages(text) for text in texts]


def greedy(base: Path, adapter: Path | None, short: bool = False) -> list[str]:
    from transformers import AutoTokenizer

    tokens = greedy_tokens(base, adapter, short)
    return AutoTokenizer.from_pretrained(base).batch_decode(tokens, skip_special_tokens=True)


@cache
def greedy_tokens(base: Path, adapter: Path | None, short: bool = False) -> list[list[int]]:
    """The token ids of every answer, an end of text and what follows it left out."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    texts = [tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in messages(short)]
    model = AutoModelForCausalLM.from_pretrained(base)
    batches = [texts]
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
        if model.active_peft_config.is_prompt_learning:  # PEFT's answers are wrong with padding
            batches = [[text] for text in texts]
    answers = []
    with torch.no_grad():
        for batch in batches:
            inputs = tokenizer(batch, return_tensors="pt", padding=True, add_special_tokens=False)
            inputs.pop("token_type_ids", None)
            out = model.eval().generate(**inputs, max_new_tokens=ANSWER, do_sample=False)
            answers += out[:, inputs.input_ids.shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    return [cut(answer, [ends] if isinstance(ends, int) else ends) for answer in answers]


def cut(tokens: list[int], ends: list[int]) -> list[int]:
    return tokens[: next((place for place, token in enumerate(tokens) if token in ends), None)]


@contextmanager
def served(adapters: dict[str, Path], folder: Path, vllm_args: str) -> Iterator[str]:
    """A server from `ner-model serve`, until `ner-model stop`: then no process is left and the port is free."""
    if not SERVE_PYTHON.exists():
        pytest.skip("absent: .venv-serve")
    words = [*(f"{name}={path}" for name, path in adapters.items()), "--api-key", KEY, "--vllm-args", vllm_args]
    at = {"env": OURS, "cwd": folder, "text": True}
    started = subprocess.run([*NER_MODEL, "serve", *words, "--port", str(PORT)], capture_output=True, **at)
    assert started.returncode == 0, started.stderr[-3000:]
    state = json.loads((folder / f".serve/{PORT}.json").read_text())
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        stopped = subprocess.run([*NER_MODEL, "stop", "--port", str(PORT)], capture_output=True, **at)
    assert stopped.stdout == f"stopped {', '.join(state['models'])} on port {PORT}\n", stopped
    assert state["pid"] not in {**processes("vllm"), **processes("VLLM")}.values()
    assert_free(PORT)


def run_server(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Start vLLM, yield its address when it is healthy, and stop it."""
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{PORT}"
    try:
        wait(process, address, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def wait(process: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


def ask(address: str, name: str, conversation: list[dict[str, str]], **extra: object) -> dict:
    body = {"model": name, "messages": conversation, "temperature": 0, "max_tokens": ANSWER} | extra
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=600, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(address: str) -> Counter[str]:
    """vLLM's counters: preemptions, tokens found in its own cache (hits), tokens that our connector filled in."""
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return Counter(
        {
            short: sum(int(float(line.split()[-1])) for line in lines if line.startswith(f"vllm:{name}_total{{"))
            for short, name in (
                ("preemptions", "num_preemptions"),
                ("hits", "prefix_cache_hits"),
                ("filled", "external_prefix_cache_hits"),
            )
        }
    )


def check_samples(address: str, name: str, short: bool = False) -> None:
    """1,000 answers at temperature 1 hold no virtual token."""

    def sample(number: int) -> list[str]:
        # No seed: vLLM 0.32 on a CPU dies of one ("CPU Generator does not use offset").
        extra = {"temperature": 1, "n": 50, "skip_special_tokens": False, "top_p": 1, "top_k": 0}
        answer = ask(address, name, messages(short)[number], **extra)
        return [choice["message"]["content"] for choice in answer["choices"]]

    with ThreadPoolExecutor(2) as pool:
        answers = [text for texts in pool.map(sample, range(20)) for text in texts]
    assert len(answers) == 1000
    assert len(set(answers)) > 500  # some of the twenty sentences have no entity, and "[]" is a frequent answer
    assert not any("<|ner_virtual" in text for text in answers)
