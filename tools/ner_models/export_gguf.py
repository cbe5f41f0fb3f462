"""``ner-model export-gguf``: a merged model as a GGUF file, for llama.cpp and what is built on it.

The weights and the tokenizer are converted by llama.cpp's own ``convert_hf_to_gguf.py``, which also stores the chat
template (Jinja): llama-server renders it. The folder gets a ``Modelfile`` (https://docs.ollama.com/modelfile) too,
whose template (Go) is what the model's own one makes of our two messages.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamafactory_ner.checks.configs import read_model_config
from ner_common.adapters import ADAPTER_CONFIG, STATE
from ner_common.errors import UserError, escaped, one_line, rooted
from ner_common.files import check_free, read_object, whole_folder, write_atomically
from ner_common.training_record import FILE_NAME as TRAINING
from ner_common.training_record import Quantized, add_to_record, load_training_record, now
from ner_common.weights import check_weights
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_models.quantize import size_of

CONVERTER = Path(".gguf")
GGUF, MODELFILE = "model.gguf", "Modelfile"
TYPES = ("f32", "f16", "bf16", "q8_0")
BYTES = 3  # of a Chinese character in UTF-8; no tokenizer of ours makes more tokens of a text than it has bytes
SYSTEM, TEXT = "NER-SYSTEM-TEXT", "NER-USER-TEXT"  # stand for the two messages while the template is rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="The merged model's folder, such as models/nano-lora-demo.")
    parser.add_argument("out", type=Path, help="The folder for the GGUF file; it must not exist yet.")
    parser.add_argument(
        "--type", choices=TYPES, default="f16", help="Number format of the weights (default: %(default)s)."
    )


def run(args: argparse.Namespace) -> None:
    export_gguf(args.model, args.out, kind=args.type)
    size = (args.out / GGUF).stat().st_size / 1e6
    print(f"{rooted(args.out)}: {GGUF} ({args.type}, {size:,.0f} MB), {MODELFILE}, {FILE_NAME}")


def export_gguf(model: Path, out: Path, *, kind: str = "f16", converter: Path = CONVERTER) -> None:
    """Convert a merged model into a new folder, with its prompt spec, its training record and a Modelfile.

    Args:
        kind: one of `TYPES`.
        converter: folder with llama.cpp's converter.

    Raises:
        UserError: see `check`; or the converter refuses the model.
    """
    check(model, out, converter)
    spec = PromptSpec.load(model / FILE_NAME, "merge the adapter again")
    with whole_folder(out) as unfinished:
        described = modelfile(model, spec)
        _convert(model, unfinished / GGUF, kind, converter)
        for name in (FILE_NAME, TRAINING, STATE):
            if (model / name).is_file():
                shutil.copyfile(model / name, unfinished / name)
        if (unfinished / TRAINING).is_file():
            size = (unfinished / GGUF).stat().st_size
            done = Quantized(
                scheme=f"gguf_{kind}", group=0, samples=0, bytes=size, bytes_before=size_of(model), at=now()
            )
            add_to_record(unfinished, quantized=done)
        with write_atomically(unfinished / MODELFILE) as file:
            file.write(described)


def check(model: Path, out: Path, converter: Path) -> None:
    """Refuse what cannot be converted.

    Raises:
        UserError: an adapter, no model, a quantised one, one with code of its own, damaged weights, an existing
            ``out``, a damaged training record, or no converter.
    """
    if (model / ADAPTER_CONFIG).is_file():
        remedy = "merge it first: LoRA with `make merge`, P-tuning with `ner-model export`"
        raise UserError(f"{rooted(model)}: is an adapter, not a whole model; {remedy}")
    config = read_model_config(model)
    if config is None:
        raise UserError(f"{rooted(model)}: no model there (no config.json); name a merged model's folder")
    if config.quantization_config:
        method = one_line(config.quantization_config.get("quant_method", "in an unknown way"), 40)
        raise UserError(
            f"{rooted(model)}: is quantised ({method}); convert the model it was made of, with --type q8_0"
        )
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in read_object(model / name):  # the converter would run that code
            raise UserError(f"{rooted(model / name)}: names code of its own (auto_map), which is never run; remove it")
    check_weights(model, "merge the adapter again")
    if (model / TRAINING).is_file():
        load_training_record(model, "restore the file, or remove it")
    check_free(out)
    if not (converter / "convert_hf_to_gguf.py").is_file():
        raise UserError(f"{rooted(converter)}: no llama.cpp converter there; install it with `make .gguf/.ready`")


def _convert(model: Path, file: Path, kind: str, converter: Path) -> None:
    command = [sys.executable, "-m", "ner_models.llama_cpp", str(converter), str(model), str(file), kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode or not file.is_file():
        said = done.stdout.strip().split("\n")[-1] or f"it ended with exit code {done.returncode}"
        raise UserError(
            f"{rooted(model)}: llama.cpp's converter refuses it ({escaped(said, 200)}); serve it with vLLM"
        )


def modelfile(model: Path, spec: PromptSpec) -> str:
    """The Modelfile: the model's chat template for a system and a user message, greedy, without a repeat penalty.

    Raises:
        UserError: a Modelfile cannot hold the template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    template = go_template(model, tokenizer, spec.template_arguments)
    context = read_object(model / "config.json").get("max_position_embeddings")
    needed = longest_conversation(spec, tokenizer)
    values = {
        "temperature": 0,
        "top_k": 1,
        "repeat_penalty": 1.0,
        "seed": 0,
        "num_predict": spec.max_tokens,
        "num_ctx": min(needed, context) if isinstance(context, int) else needed,
        "stop": f'"{tokenizer.eos_token}"',
    }
    lines = [f"PARAMETER {name} {value}" for name, value in values.items()]
    return "\n".join([f"FROM ./{GGUF}", f'TEMPLATE """{template}"""', *lines, ""])


def go_template(model: Path, tokenizer: Any, told: Mapping[str, bool]) -> str:
    """The prompt of a system and a user message with Go's fields in their places.

    Raises:
        UserError: the model's template drops or changes a message, or has what a Modelfile cannot hold.
    """
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TEXT}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **told)
    if prompt.count(SYSTEM) != 1 or prompt.count(TEXT) != 1 or "{{" in prompt or '"""' in prompt:
        raise UserError(f"{rooted(model)}: its chat template cannot be written as a Modelfile's; serve it with vLLM")
    return str(prompt).replace(SYSTEM, "{{ .System }}").replace(TEXT, "{{ .Prompt }}")


def longest_conversation(spec: PromptSpec, tokenizer: Any) -> int:
    """An upper bound of the tokens of a prompt with the longest text and its answer, in whole 256."""
    told = spec.template_arguments
    prompt = tokenizer.apply_chat_template(spec.messages(""), tokenize=False, add_generation_prompt=True, **told)
    tokens = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    tokens += spec.longest_text * BYTES * (2 if spec.again else 1) + spec.max_tokens
    return -(-tokens // 256) * 256
