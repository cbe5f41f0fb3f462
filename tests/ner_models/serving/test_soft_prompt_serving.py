"""One vLLM server with the base model, a LoRA module, two prefixes and a P-tuning adapter, against PEFT.

Runs in the train environment (PEFT) and lets `ner-model serve` start the server, with an API key, from the serve
environment. The cache is made so small that requests are preempted.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import httpx
import pytest

from ner_data import demo
from ner_data.answers import json_list
from ner_data.prompt import FILE_NAME, SYSTEM, PromptSpec, instruction
from ner_models.serving.adapters import load_adapter
from ner_models.serving.baking import export
from support import ROOT, assert_free

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(1800)]

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
    """Conversations as nano knows them: its answers to others are loops, in which many tokens are equally likely."""
    texts = [text for text, _ in demo.sentences()["test"][:PROMPTS]]
    return [[{"role": "user", "content": text}] if short else prompt_spec().messages(text) for text in texts]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def expected(adapters) -> dict[str, list[str]]:
    """Answers of transformers and PEFT, by model name; "base" is the model without any adapter."""
    return {name: greedy(NANO, folder) for name, folder in {"base": None, **adapters}.items()}


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
        if model.active_peft_config.is_prompt_learning:  # PEFT's answers are wrong beside padding
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


@pytest.fixture(scope="module")
def server(adapters, tmp_path_factory) -> Iterator[str]:
    """The server's address."""
    with served(adapters, tmp_path_factory.mktemp("server"), SMALL_CACHE) as address:
        yield address


@contextmanager
def served(adapters: dict[str, Path], folder: Path, vllm_args: str) -> Iterator[str]:
    """What `ner-model serve` makes of adapters, until `ner-model stop` ends it: then no process is left and no port."""
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
    with pytest.raises(ProcessLookupError):
        os.killpg(state["pid"], 0)
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


@pytest.fixture(scope="module")
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


@pytest.mark.parametrize("tied", [True, False], ids=["qwen2, tied", "glm, untied"])
def test_plain_vllm_serves_the_exported_folder_and_never_says_a_virtual_token(tied, adapters, glm, tmp_path) -> None:
    """vLLM alone, without a line of this project."""
    base, adapter = (NANO, adapters["ptuning"]) if tied else glm[:2]
    export(load_adapter("p", adapter), base, tmp_path / "plain")
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
    """Grouped keys, half of each head rotated, biases: none of it is as in Qwen2.

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


def check_parity(address: str, names: dict[str, str], expected: dict[str, list[str]]) -> Counter[str]:
    """Ask every prompt under every name (expected -> served), concurrently; returns what the counters gained."""
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
    """What is counted here is theirs alone."""
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
