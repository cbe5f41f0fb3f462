"""Pretrain nano: ``python -m ner_models.nano.pretrain --out data/nano``.

A Qwen2 of about three million parameters learns from generated text (`text.py`) to read a label set and a sentence and
to copy the mentions out. The curriculum begins with bare copying, on which everything else rests: a network learns
that slowly from long prompts and within minutes from short ones. The loss is taken on the answers alone.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ner_data.errors import UserError, run_cli
from ner_models.nano import text
from ner_models.nano.start import join_heads
from ner_models.nano.tokenizer import END_OF_TEXT, END_OF_TURN, write_tokenizer

if TYPE_CHECKING:
    import torch

SEED = 7
MAX_LENGTH = 1024  # tokens; the context of the model
BATCH_TOKENS = 2048  # of prompts and answers, padding included
TOKENS = 2_700_000  # of the whole run
PEAK_RATE, LAST_RATE = 2e-3, 0.02  # AdamW's learning rate; the last one as a share of the first
WARM_UP = 0.02  # of the run
HELD_OUT = 128  # samples that the progress line is measured on
# Share of the run at which a level ends: bare copying, then the prompt with ever more labels and longer sentences.
CURRICULUM: tuple[tuple[float, text.Difficulty | None], ...] = (
    (0.02, None),
    (0.18, text.EASY),
    (0.42, text.MIDDLE),
    (1.01, text.FULL),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of a prompt with its answer; the answer begins at ``start``."""

    ids: list[int]
    start: int


def config() -> dict[str, Any]:
    """The model's size, in the words of transformers' Qwen2Config."""
    return {
        "hidden_size": 192,
        "intermediate_size": 448,
        "num_hidden_layers": 5,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "max_position_embeddings": MAX_LENGTH,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "use_sliding_window": False,
    }


def build_model(tokenizer: Any) -> Any:
    """A Qwen2ForCausalLM with fresh weights (float32)."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(SEED)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    # Rows of the embedding are rounded up to a multiple of 64; the spare ones are never used.
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=-(-len(tokenizer) // 64) * 64, **config(), **ids))
    join_heads(model)
    return model


def _encoded(tokenizer: Any, rng: random.Random, level: text.Difficulty | None, count: int) -> list[Row]:
    """``count`` samples of a level as token ids; no level means bare copying."""
    if level is None:
        return [_copy(tokenizer, rng) for _ in range(count)]
    prompts, answers = [], []
    for _ in range(count):
        spec, record = text.sample(rng, level)
        turns = spec.messages(record.text)
        prompts.append(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        answers.append(spec.render(record) + END_OF_TURN)
    asked, answered = (tokenizer(texts, add_special_tokens=False)["input_ids"] for texts in (prompts, answers))
    return [Row(prompt + answer, len(prompt)) for prompt, answer in zip(asked, answered, strict=True)]


def _copy(tokenizer: Any, rng: random.Random) -> Row:
    """A random stretch of tokens, and a part of it again: what follows is known from the second token on."""
    first = [rng.randrange(256, tokenizer.vocab_size) for _ in range(rng.randrange(6, 33))]
    begin = rng.randrange(len(first) - 3)
    return Row([*first, tokenizer.eos_token_id, *first[begin:]], len(first) + 2)


def batches(tokenizer: Any, rng: random.Random, level: text.Difficulty | None) -> Iterator[list[Row]]:
    """Batches of at most BATCH_TOKENS, rows of like length together; without end."""
    while True:
        rows = sorted(_encoded(tokenizer, rng, level, 1024), key=lambda row: len(row.ids))
        made: list[list[Row]] = [[]]
        for row in rows:
            if (len(made[-1]) + 1) * len(row.ids) > BATCH_TOKENS:
                made.append([])
            made[-1].append(row)
        rng.shuffle(made)
        yield from made


def answer_scores(model: Any, rows: list[Row], pad: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Logits (answer tokens, vocabulary) and targets (answer tokens,) of a batch; rows are padded on the right."""
    import torch

    device = model.device
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    asked = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        asked[number, row.start - 1 : len(row.ids) - 1] = True
    # No attention mask: attention is causal, and what stands right of an answer cannot be seen from it.
    hidden = model.model(input_ids=ids.to(device)).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][asked[:, :-1].to(device)])
    return logits, ids[:, 1:][asked[:, :-1]].to(device)


def exact_share(model: Any, rows: list[Row], pad: int) -> tuple[float, float]:
    """Share of answers that greedy decoding would give exactly, and share of answer tokens guessed right."""
    import torch

    exact = right = tokens = 0
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            logits, targets = answer_scores(model, batch, pad)
            hits = (logits.argmax(-1) == targets).tolist()
            right, tokens = right + sum(hits), tokens + len(hits)
            for row in batch:
                size = len(row.ids) - row.start
                exact += all(hits[:size])
                hits = hits[size:]
    return exact / len(rows), right / tokens


def build_optimizer(model: Any) -> "torch.optim.Optimizer":
    """AdamW; weights decay, embeddings, norms and biases do not."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def _rate(done: float) -> float:
    """The learning rate as a share of its peak: warm-up, then a cosine down to LAST_RATE; ``done`` in [0, 1]."""
    import math

    if done < WARM_UP:
        return max(done, 1e-4) / WARM_UP
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write the model as bfloat16 (it halves the files) that loads as float32, with its tokenizer."""
    import copy

    import torch
    from transformers import GenerationConfig

    stored = copy.deepcopy(model).to("cpu", torch.bfloat16)
    # Greedy, whatever a server takes as default: extraction has one right answer.
    stored.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    stored.save_pretrained(directory)
    from ner_data.files import read_json, write_json

    settings = read_json(directory / "config.json", remedy="run `make nano`")
    write_json(directory / "config.json", {**settings, "dtype": "float32"})
    write_tokenizer(directory, MAX_LENGTH)


class Progress:
    """The line printed now and then: tokens so far, speed, loss, and how well unseen samples are answered."""

    def __init__(self, total: int, every: float) -> None:
        self.total, self.every = total, every  # tokens; seconds
        self.seen = self.reported_tokens = 0
        self.began = self.reported = time.time()
        self.losses: list[float] = []

    def add(self, tokens: int, loss: float) -> bool:
        """Count a step; whether a line is due."""
        self.seen += tokens
        self.losses = [*self.losses[-49:], loss]
        return time.time() - self.reported > self.every or self.seen >= self.total

    def report(self, model: Any, held_out: list[Row], pad: int) -> None:
        now = time.time()
        speed = (self.seen - self.reported_tokens) / (now - self.reported)
        left = (now - self.began) / self.seen * max(0, self.total - self.seen)
        exact, right = exact_share(model, held_out, pad)
        print(
            f"{self.seen:>11,} tokens  {speed:>6,.0f}/s  {left / 60:.0f} min left  "
            f"loss {sum(self.losses) / len(self.losses):.3f}  "
            f"held out: answers exact {exact:.1%}, tokens right {right:.1%}",
            flush=True,
        )
        self.reported, self.reported_tokens = now, self.seen


def _step(model: Any, optimizer: "torch.optim.Optimizer", rows: list[Row], pad: int) -> float:
    """One step on a batch; its loss (nats an answer token)."""
    import torch

    logits, targets = answer_scores(model, rows, pad)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.item())


def train(out: Path, checkpoints: Path | None, total: int, report_every: float = 60.0) -> None:
    """Train for ``total`` tokens, print a line every ``report_every`` seconds, and save the model."""
    import torch
    from transformers import AutoTokenizer

    write_tokenizer(out, MAX_LENGTH)
    tokenizer = AutoTokenizer.from_pretrained(out)
    pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    model = build_model(tokenizer).to("cuda" if torch.cuda.is_available() else "cpu")
    print(f"parameters {sum(p.numel() for p in model.parameters()):,}, vocabulary {len(tokenizer):,}", flush=True)
    optimizer, progress, rng = build_optimizer(model), Progress(total, report_every), random.Random(SEED)
    for end, level in CURRICULUM:
        held_out, stream = _encoded(tokenizer, random.Random(-1), level, HELD_OUT), batches(tokenizer, rng, level)
        while progress.seen < min(total, end * total):
            rows = next(stream)
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATE * _rate(progress.seen / total)
            if progress.add(sum(len(row.ids) for row in rows), _step(model, optimizer, rows, pad)):
                progress.report(model, held_out, pad)
                if checkpoints is not None:
                    save(model, tokenizer, checkpoints)
    save(model, tokenizer, out)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m ner_models.nano.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, its config and its tokenizer")
    parser.add_argument("--checkpoints", type=Path, help="folder that always holds the newest state")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens to train on (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.tokens <= 0:
        raise UserError("--tokens must be positive")
    train(options.out, options.checkpoints, options.tokens)
    return 0


if __name__ == "__main__":
    run_cli(main, "nano")()
