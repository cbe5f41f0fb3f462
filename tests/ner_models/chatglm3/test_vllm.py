"""The converted model in vLLM: its logits against vLLM's own ChatGLM, its prompts against SentencePiece, over HTTP."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from chatglm_support import LOOK_ALIKES, SPECIAL, hard_strings, real_tokenizer, train_tokenizer, write_checkpoint
from ner_data.prompt import escape
from ner_models.chatglm3.convert import convert
from support import ROOT, free_port

pytestmark = pytest.mark.serve

ROWS = 768
# vLLM runs the folder as it is: ChatGLM's own code for the original, from its own config class, without a tokenizer.
LOGITS = """
import json, os, sys
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
from vllm import LLM, SamplingParams
model, prompts, rows = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
llm = LLM(model, skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=16,
          logprobs_mode="raw_logits", max_logprobs=-1, kv_cache_memory_bytes=64 << 20)
sampling = SamplingParams(max_tokens=1, temperature=0, logprobs=-1, detokenize=False)
answers = llm.generate([{"prompt_token_ids": ids} for ids in prompts], sampling)
logits = [[answer.outputs[0].logprobs[0][i].logprob for i in range(rows)] for answer in answers]
json.dump([llm.llm_engine.model_config.architecture, logits], open(sys.argv[4], "w"))
"""


def vllm_logits(model: Path, prompts: list[list[int]], out: Path) -> tuple[str, Any]:
    """(architecture, logits after each prompt's last token, ``[prompts, ROWS]``), computed by vLLM."""
    import torch

    command = [sys.executable, "-c", LOGITS, str(model), json.dumps(prompts), str(ROWS), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    architecture, logits = json.loads(out.read_text())
    return architecture, torch.tensor(logits)


def test_the_converted_model_gives_the_logits_of_vllms_own_chatglm(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    write_checkpoint(tmp_path / "src", train_tokenizer(tmp_path / "tiny"))
    convert(tmp_path / "src", tmp_path / "glm")
    rng = random.Random(1)
    lengths = (1, 2, 3, 5, 8, 13, 31, 32, 33, 64, 100, 127, 128, 129, 200)
    prompts = [[rng.randrange(ROWS) for _ in range(length)] for length in lengths]
    architecture, original = vllm_logits(tmp_path / "src", prompts, tmp_path / "original.json")
    assert architecture == "ChatGLMModel"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "glm", dtype=torch.float32)
    with torch.no_grad():
        converted = torch.stack([model(torch.tensor([ids])).logits[0, -1] for ids in prompts])
    assert original.std() > 0.5 and (original[1:] - original[:-1]).abs().amax(dim=1).min() > 1  # no flat logits
    difference = (converted - original).abs().max().item()
    print(f"largest difference {difference:.1e}")
    assert difference < 1e-5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """`ner-model serve` with a small random model and chatglm3's own tokenizer."""
    from sentencepiece import SentencePieceProcessor

    folder, tokenizer = tmp_path_factory.mktemp("served"), real_tokenizer()
    write_checkpoint(folder / "src", tokenizer, padded_vocab_size=65024)
    convert(folder / "src", folder / "glm")
    port = str(free_port())
    program = [sys.executable, "-c", "from ner_models.cli import entry_point; entry_point()"]
    started = subprocess.run(
        [*program, "serve", "--base", str(folder / "glm"), "--port", port, "--max-model-len", "512"],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr[-3000:]
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", slow=SentencePieceProcessor(model_file=str(tokenizer)))
    finally:
        subprocess.run([*program, "stop", "--port", port], cwd=folder, env=environment(), check=True)


def environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": f"{ROOT / 'tools'}:{ROOT / 'eval'}"}


def tokenize(served: SimpleNamespace, messages: list[dict[str, str]]) -> list[int]:
    body = {"model": "glm", "messages": messages, "add_generation_prompt": True}
    ids: list[int] = httpx.post(f"{served.url}/tokenize", json=body, timeout=60).raise_for_status().json()["tokens"]
    return ids


def pieces(served: SimpleNamespace, messages: list[dict[str, str]]) -> list[int]:
    """The prompt as chatglm3's own code builds it: role, newline and text each encoded by itself."""
    first = 64794
    ids = [64790, 64792]
    for message in messages:
        role = first + ["system", "user", "assistant", "observation"].index(message["role"])
        ids += [role, *served.slow.encode("\n"), *served.slow.encode(message["content"])]
    return [*ids, first + 2]


def test_vllm_renders_the_prompt_that_chatglm3_was_trained_on(served: SimpleNamespace) -> None:
    texts = [escape(text) for text in hard_strings(300, seed=9)]
    for system, user, answer in zip(texts[::3], texts[1::3], texts[2::3], strict=True):
        turns = [("system", system), ("user", user), ("assistant", answer), ("user", "再说一遍 philosophy sop")]
        messages = [{"role": role, "content": content} for role, content in turns]
        assert tokenize(served, messages) == pieces(served, messages), messages


@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_what_looks_like_a_special_token_reaches_the_model_as_text(served: SimpleNamespace, look_alike: str) -> None:
    """Not escaped by the client: the template does it."""
    for text in (look_alike, f"他说{look_alike}。", f" {look_alike} {look_alike}"):
        ids = tokenize(served, [{"role": "user", "content": text}])
        assert [i for i in ids if i < 3 or i >= 64789] == [64790, 64792, 64795, 64796]
        body = served.slow.decode(ids[3 + len(served.slow.encode("\n")) : -1])
        assert body.replace(" ", "") == text.replace(" ", "")
        assert body == text or any(token in text for token in (*SPECIAL, "<unk>", "</s>"))


def test_a_chat_request_is_answered_and_bad_roles_are_not(served: SimpleNamespace) -> None:
    body = {"model": "glm", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 5, "temperature": 0}
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=120).raise_for_status().json()
    assert answer["usage"]["prompt_tokens"] == len(pieces(served, body["messages"]))
    body["messages"][0]["role"] = "critic"
    assert httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=120).status_code == 400
