"""Pretrain nano: ``ner-model pretrain-nano --out data/nano``.

A Qwen2 of about three million parameters learns from generated text (`text.py`) to read a label set and a sentence and
to copy the mentions out. The curriculum begins with plain copying, which everything else builds on: a network
learns that slowly from long prompts and within minutes from short ones. The loss is computed on the answers only.
"""

import argparse
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ner_common.errors import UserError
from ner_common.files import read_json, write_json
from ner_models.nano import text
from ner_models.nano.batches import Row, batches, encoded
from ner_models.nano.optimizers import build_optimizers, rate_share
from ner_models.nano.start import connect_heads
from ner_models.nano.tokenizer import END_OF_TEXT, write_tokenizer

if TYPE_CHECKING:
    import torch

NANO = Path("data/nano")
SEED = 7
MAX_LENGTH = 1024  # tokens; the context of the model
TOKENS = 7_000_000  # of the whole run
TAG_LAYER, TAG_WEIGHT = 3, 0.5  # the layer after which the sentence's tokens are tagged; weight of that loss
HELD_OUT = 128  # unseen samples that progress is measured on
# Share of the run at which a level ends: plain copying, then prompts with more labels and longer sentences.
CURRICULUM: tuple[tuple[float, text.Difficulty | None], ...] = (
    (0.02, None),
    (0.10, text.EASY),
    (0.25, text.MIDDLE),
    (1.01, text.FULL),
)


def config() -> dict[str, Any]:
    """The model's size, as arguments of transformers' Qwen2Config."""
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
    connect_heads(model)
    return model


def answer_scores(
    model: Any, rows: list[Row], pad: int
) -> "tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]":
    """Logits (answer tokens, vocabulary) and targets (answer tokens,) of a batch, and the hidden states of all layers
    (rows, tokens, width); rows are padded on the right."""
    import torch

    device = model.device
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    asked = torch.zeros((len(rows), longest), dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        asked[number, row.start - 1 : len(row.ids) - 1] = True
    # No attention mask: attention is causal, and an answer cannot see what is to its right.
    output = model.model(input_ids=ids.to(device), output_hidden_states=True)
    logits = model.lm_head(output.last_hidden_state[:, :-1][asked[:, :-1].to(device)])
    return logits, ids[:, 1:][asked[:, :-1]].to(device), output.hidden_states


def exact_share(model: Any, rows: list[Row], pad: int) -> tuple[float, float]:
    """Share of answers that greedy decoding would give exactly, and share of answer tokens guessed right."""
    import torch

    exact = right = tokens = 0
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            batch = rows[start : start + 32]
            logits, targets, _ = answer_scores(model, batch, pad)
            hits = (logits.argmax(-1) == targets).tolist()
            right, tokens = right + sum(hits), tokens + len(hits)
            for row in batch:
                size = len(row.ids) - row.start
                exact += all(hits[:size])
                hits = hits[size:]
    return exact / len(rows), right / tokens


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write the model as bfloat16 (it halves the files) that loads as float32, with its tokenizer."""
    import copy

    import torch
    from transformers import GenerationConfig

    stored = copy.deepcopy(model).to("cpu", torch.bfloat16)
    # Greedy, whatever the server's default: extraction has one right answer.
    stored.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    stored.save_pretrained(directory)
    settings = read_json(directory / "config.json", remedy="run `make nano`")
    write_json(directory / "config.json", {**settings, "dtype": "float32"})
    write_tokenizer(directory, MAX_LENGTH)


class Progress:
    """The line printed at intervals: tokens so far, speed, loss, and how well unseen samples are answered."""

    def __init__(self, total: int, every: float) -> None:
        self.total, self.every = total, every  # tokens; seconds
        self.seen = self.reported_tokens = 0
        self.began = self.reported = time.time()
        self.losses: list[float] = []

    def add(self, tokens: int, loss: float) -> bool:
        """Count a step and return whether a line is due."""
        self.seen += tokens
        self.losses = [*self.losses[-49:], loss]
        return time.time() - self.reported > self.every or self.seen >= self.total

    @property
    def loss(self) -> float:
        """The mean of the last 50 steps."""
        return sum(self.losses) / len(self.losses)

    def report(self, model: Any, held_out: list[Row], pad: int) -> None:
        now = time.time()
        speed = (self.seen - self.reported_tokens) / (now - self.reported)
        left = (now - self.began) / self.seen * max(0, self.total - self.seen)
        exact, right = exact_share(model, held_out, pad)
        print(
            f"{self.seen:>11,} tokens  {speed:>6,.0f}/s  {left / 60:.0f} min left  "
            f"loss {self.loss:.3f}  "
            f"held out: answers exact {exact:.1%}, tokens right {right:.1%}",
            flush=True,
        )
        self.reported, self.reported_tokens = now, self.seen


def _step(model: Any, tagger: Any, optimizers: list[Any], rows: list[Row], pad: int) -> float:
    """One step on a batch; its loss (nats per answer token)."""
    import torch

    logits, targets, hidden = answer_scores(model, rows, pad)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    tags = [(number, place, tag) for number, row in enumerate(rows) for place, tag in row.tags]
    total = loss
    if tags:
        number, place, tag = (torch.tensor(column, device=model.device) for column in zip(*tags, strict=True))
        total = loss + TAG_WEIGHT * torch.nn.functional.cross_entropy(tagger(hidden[TAG_LAYER][number, place]), tag)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.item())


@dataclass(frozen=True, slots=True)
class Pretraining:
    """A finished pretraining: tokens seen, seconds taken, and the mean loss of the last 50 steps (nats per token)."""

    tokens: int
    seconds: float
    loss: float


def pretrain(
    out: Path = NANO, *, tokens: int = TOKENS, checkpoints: Path | None = None, report_every: float = 60.0
) -> Pretraining:
    """Pretrain nano and save it with its tokenizer; the same arguments give the same bytes on the same machine.

    Args:
        out: folder of the model; existing files are replaced.
        tokens: how many to train on.
        checkpoints: folder that always holds the newest state, if any.
        report_every: seconds between two lines of progress.

    Raises:
        UserError: ``tokens`` is not positive.
    """
    if tokens <= 0:
        raise UserError(f"--tokens {tokens}: must be positive")
    import torch
    from transformers import AutoTokenizer

    write_tokenizer(out, MAX_LENGTH)
    tokenizer = AutoTokenizer.from_pretrained(out)
    pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    model = build_model(tokenizer).to("cuda" if torch.cuda.is_available() else "cpu")
    print(f"parameters {sum(p.numel() for p in model.parameters()):,}, vocabulary {len(tokenizer):,}", flush=True)
    # Discarded afterwards: tagging every token of a sentence teaches what an entity is faster than the few label
    # tokens of an answer.
    tagger = torch.nn.Linear(model.config.hidden_size, 1 + 2 * len(text.KINDS)).to(model.device)
    optimizers, progress, rng = build_optimizers(model, tagger), Progress(tokens, report_every), random.Random(SEED)
    for end, level in CURRICULUM:
        held_out, stream = encoded(tokenizer, random.Random(-1), level, HELD_OUT), batches(tokenizer, rng, level)
        while progress.seen < min(tokens, end * tokens):
            rows = next(stream)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["peak"] * rate_share(progress.seen / tokens)
            if progress.add(sum(len(row.ids) for row in rows), _step(model, tagger, optimizers, rows, pad)):
                progress.report(model, held_out, pad)
                if checkpoints is not None:
                    save(model, tokenizer, checkpoints)
    save(model, tokenizer, out)
    return Pretraining(progress.seen, time.time() - progress.began, progress.loss)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=NANO, help="The folder for the model (default: %(default)s).")
    parser.add_argument("--checkpoints", type=Path, help="A folder that always holds the newest state.")
    parser.add_argument(
        "--tokens", type=int, default=TOKENS, help="How many tokens to train on (default: %(default)s)."
    )


def run(args: argparse.Namespace) -> None:
    done = pretrain(args.out, tokens=args.tokens, checkpoints=args.checkpoints)
    print(f"{args.out}: {done.tokens:,} tokens in {done.seconds / 60:.0f} min, loss {done.loss:.3f}")
