"""One vLLM server with the base model, a LoRA module, two prefixes and two P-tuning adapters, against PEFT.

`ner-model serve` starts it, with an API key; its cache is so small that requests are preempted.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from soft_prompt_support import (
    ANSWER,
    HEADERS,
    NANO,
    PROMPTS,
    SMALL_CACHE,
    ask,
    check_samples,
    counts,
    greedy,
    messages,
    served,
)

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def expected(adapters) -> dict[str, list[str]]:
    """Answers of transformers and PEFT, by model name; "base" is the model without any adapter."""
    return {name: greedy(NANO, folder) for name, folder in {"base": None, **adapters}.items()}


@pytest.fixture(scope="module")
def server(adapters, tmp_path_factory) -> Iterator[str]:
    """The server's address."""
    with served(adapters, tmp_path_factory.mktemp("server"), SMALL_CACHE) as address:
        yield address


def check_parity(address: str, names: dict[str, str], expected: dict[str, list[str]]) -> Counter[str]:
    """Ask every prompt under every name (expected -> served), concurrently; returns the increase of the counters."""
    work = [(name, number) for number in range(PROMPTS) for name in names]
    asked, before = messages(), counts(address)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda job: ask(address, names[job[0]], asked[job[1]]), work))
    for (name, number), answer in zip(work, answers, strict=True):
        assert answer["model"] == names[name]
        assert answer["choices"][0]["message"]["content"] == expected[name][number], (name, number)
    return counts(address) - before


def test_every_name_answers_as_peft_does_concurrently_under_preemption(server, adapters, expected) -> None:
    gained = check_parity(server, {"base": NANO.resolve().name, **{name: name for name in adapters}}, expected)
    assert gained["preemptions"] and gained["hits"]
    for name in expected:
        assert len(set(expected[name])) >= 30, name
        if name != "base":
            assert sum(a != b for a, b in zip(expected[name], expected["base"], strict=True)) > PROMPTS / 2, name


def test_prefixes_by_themselves_are_found_in_the_cache_and_preempted(server, expected) -> None:
    """The counts here are theirs alone."""
    gained = check_parity(server, {name: name for name in ("prefix64", "prefix72")}, expected)
    assert gained["preemptions"] and gained["hits"]


def test_a_request_without_the_key_is_refused(server) -> None:
    for name in (NANO.resolve().name, "prefix72"):
        body = {"model": name, "messages": messages()[0]}
        assert httpx.post(f"{server}/v1/chat/completions", json=body).status_code == 401
    assert httpx.get(f"{server}/v1/models").status_code == 401


def test_the_names_are_listed_as_lora_modules_are(server, adapters) -> None:
    listed = {model["id"] for model in httpx.get(f"{server}/v1/models", headers=HEADERS).json()["data"]}
    assert listed == {NANO.resolve().name, *adapters}


def test_a_streamed_answer_carries_the_name_too(server, expected) -> None:
    body = {"model": "prefix72", "messages": messages()[0], "temperature": 0, "max_tokens": ANSWER, "stream": True}
    text = ""
    with httpx.stream("POST", f"{server}/v1/chat/completions", json=body, timeout=600, headers=HEADERS) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                assert chunk["model"] == "prefix72"
                text += chunk["choices"][0]["delta"].get("content") or ""
    assert text == expected["prefix72"][0]


@pytest.mark.parametrize(
    ("path", "extra", "said"),
    [
        ("/v1/completions", {"prompt": "x"}, "/v1/chat/completions only"),
        ("/v1/chat/completions", {"messages": [], "prompt_logprobs": 1}, "remove prompt_logprobs"),
    ],
)
def test_what_a_prefix_cannot_answer_is_refused(server, path, extra, said) -> None:
    answer = httpx.post(f"{server}{path}", json={"model": "prefix72"} | extra, headers=HEADERS)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_virtual_tokens_are_never_generated_beside_other_adapters(server) -> None:
    check_samples(server, "ptuning")
