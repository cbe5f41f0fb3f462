"""``ner-model check-merge``: the greedy answers of a base model with its adapter, and of the model merged from both.

A merge rounds the sum of two matrices to the number format of the base, so a few answers may differ where two tokens
are nearly equally likely. Many different answers mean that something was merged wrongly.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ner_common.commands import positive
from ner_common.errors import UserError, escaped
from ner_common.machine import cpu_number_format
from ner_common.weights import check_weights
from ner_data.corpus import load_corpus
from ner_data.gold import Record, read_gold
from ner_data.prompt import FILE_NAME, PromptSpec
from ner_models.base_models import is_small
from ner_models.serving.adapters import check_base, load_adapter

PROMPTS = 50
MOST_DIFFERENT = 0.1  # of the answers; see docs/log.md for what merges in bfloat16 and float32 do
AT_ONCE = 25  # prompts in one batch
LONGEST = 512  # tokens of an answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("merged", type=Path, help="The merged model's folder, such as models/nano-lora-demo.")
    parser.add_argument("--base", type=Path, required=True, metavar="DIR", help="The base model.")
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="The adapter that was merged.")
    parser.add_argument("--corpus", required=True, metavar="NAME", help="The corpus to take texts from.")
    parser.add_argument("--split", default="dev", help="The split to take texts from (default: %(default)s).")
    parser.add_argument(
        "--prompts", type=positive(int), default=PROMPTS, metavar="N", help="How many (default: %(default)s)."
    )
    parser.add_argument(
        "--most-different",
        type=float,
        default=MOST_DIFFERENT,
        metavar="SHARE",
        help="The largest share of different answers to pass (default: %(default)s).",
    )


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.most_different <= 1:
        raise UserError(f"--most-different {args.most_different}: not a share; give one from 0 to 1")
    records = list(islice(read_gold(load_corpus(args.corpus).gold_file(args.split)), args.prompts))
    before, after = answers(args.base, args.adapter, args.merged, records)
    different = [at for at in range(len(records)) if before[at] != after[at]]
    for at in different:
        print(f"{escaped(records[at].id)}\n  adapter: {before[at]}\n  merged:  {after[at]}")
    share = len(different) / len(records)
    failed = share > args.most_different
    print(
        f"{args.merged}: {len(different)} of {len(records)} greedy answers differ from those of the adapter"
        f" ({share:.0%}{', more than' if failed else '; at most'} {args.most_different:.0%})"
    )
    return 1 if failed else 0


def answers(base: Path, adapter: Path, merged: Path, records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """The greedy answers of the base model with its adapter, and of the merged model.

    Both are computed in the same number format, in the prompt that the adapter was trained with.

    Raises:
        UserError: a folder is not what it should be.
    """
    loaded = load_adapter("adapter", adapter)
    check_base(loaded, base)
    check_weights(base, "run `make download`")
    check_weights(merged, "run `make merge`")
    prompt = PromptSpec.load(adapter / FILE_NAME, "train the adapter with this repository")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # of loading weights; ours shows the answers
    on_gpu = torch.cuda.is_available()
    name = "auto" if on_gpu else "float32" if is_small(base) else cpu_number_format().name
    device = "cuda" if on_gpu else "cpu"
    # One tokenizer, the adapter's: a merge does not change it.
    tokenizer = AutoTokenizer.from_pretrained(adapter, padding_side="left")
    found = []
    for folder in (base, merged):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=name, use_safetensors=True).to(device)
        if folder == base:
            model = PeftModel.from_pretrained(model, str(adapter))
        found.append(list(greedy(model.eval(), tokenizer, prompt, records, f"answers of {folder.name}")))
        del model
    return found[0], found[1]


def greedy(model: Any, tokenizer: Any, prompt: PromptSpec, records: Sequence[Record], what: str) -> Iterator[str]:
    """The most likely answer to each text, token by token."""
    import torch
    from tqdm import tqdm

    with torch.inference_mode(), tqdm(total=len(records), desc=what, unit="answer") as bar:
        for start in range(0, len(records), AT_ONCE):
            part = records[start : start + AT_ONCE]
            asked = tokenizer.apply_chat_template(
                [prompt.messages(record.text) for record in part],
                add_generation_prompt=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
                **prompt.template_arguments,
            ).to(model.device)
            # Plain greedy decoding: the base model's own generation settings may sample or penalise repetition.
            given = model.generate(
                **asked, do_sample=False, temperature=None, top_p=None, top_k=None, repetition_penalty=1.0,
                max_new_tokens=LONGEST,
            )  # fmt: skip
            yield from tokenizer.batch_decode(given[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
            bar.update(len(part))
