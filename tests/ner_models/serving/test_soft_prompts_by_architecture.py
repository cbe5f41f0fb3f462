"""Soft prompts on Qwen2 and on a converted chatglm3, one server each, against PEFT."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ner_models.serving.adapters import load_adapter
from ner_models.serving.baking import bake_checkpoint
from soft_prompt_support import (
    BLOCKS,
    NANO,
    PORT,
    PROMPTS,
    SERVE_PYTHON,
    ask,
    check_samples,
    counts,
    cut,
    greedy,
    greedy_tokens,
    messages,
    run_server,
    served,
)

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("tied", [True, False], ids=["qwen2, tied", "glm, untied"])
def test_plain_vllm_serves_the_exported_folder_and_never_says_a_virtual_token(tied, adapters, glm, tmp_path) -> None:
    """vLLM alone, without a line of this project."""
    base, adapter = (NANO, adapters["ptuning"]) if tied else glm[:2]
    bake_checkpoint([load_adapter("p", adapter)], base, tmp_path / "plain")
    wanted = greedy(base, adapter, short=not tied)
    command = [
        *(str(SERVE_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(tmp_path / "plain")),
        *("--served-model-name", "plain", "--port", str(PORT), "--host", "127.0.0.1", "--generation-config", "vllm"),
        *("--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(1 << 28)),
    ]
    for address in run_server(command, os.environ | {"PYTHONPATH": "", "AUTOWRAPT_BOOTSTRAP": ""}, tmp_path):
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, [address] * PROMPTS, ["plain"] * PROMPTS, messages(short=not tied)))
        # The two differ in whether they decode the space that SentencePiece puts before a text.
        said = [answer["choices"][0]["message"]["content"].lstrip(" ") for answer in answers]
        assert said == [text.lstrip(" ") for text in wanted]
        assert len(set(wanted)) >= 30
        assert sum(a != b for a, b in zip(wanted, greedy(base, None, short=not tied), strict=True)) > PROMPTS / 2
        check_samples(address, "plain", short=not tied)


def test_a_prefix_on_a_converted_chatglm3_answers_as_peft_does(glm, tmp_path) -> None:
    """Grouped keys, half of each head rotated, biases: all unlike Qwen2.

    Tokens are compared: a random model writes broken bytes, which the two decode differently.
    """
    base, _, adapter = glm
    ends = json.loads((base / "generation_config.json").read_text())["eos_token_id"]
    wanted, untuned = greedy_tokens(base, adapter, short=True), greedy_tokens(base, None, short=True)
    with served({"prefix": adapter}, tmp_path, BLOCKS) as address, ThreadPoolExecutor(24) as pool:
        turns = messages(short=True)
        # The second request finds the two whole blocks of the prefix and has its last 8 tokens filled in.
        for number, gained in enumerate(({"filled": 72}, {"filled": 8, "hits": 64})):
            before = counts(address)
            ask(address, "prefix", turns[number])
            assert counts(address) - before == gained
        for name, expected in (("prefix", wanted), ("glm", untuned), ("prefix", wanted)):
            before = counts(address)
            answers = list(pool.map(partial(ask, address, name, return_token_ids=True), turns))
            assert [cut(answer["choices"][0]["token_ids"], ends) for answer in answers] == expected
        assert counts(address)["hits"] - before["hits"] >= PROMPTS * 64
    assert len({tuple(tokens) for tokens in wanted}) >= 30
    assert sum(a != b for a, b in zip(wanted, untuned, strict=True)) > PROMPTS / 2
