"""Pretrain nano: ``ner-model pretrain-nano --out data/nano``.

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

from ner_common.errors import UserError
from ner_models.nano import text
from ner_models.nano.start import join_heads
from ner_models.nano.tokenizer import END_OF_TEXT, END_OF_TURN, write_tokenizer

if TYPE_CHECKING:
    import torch

SEED = 7
MAX_LENGTH = 1024  # tokens; the context of the model
BATCH_TOKENS = 2048  # of prompts and answers, padding included
TOKENS = 7_000_000  # of the whole run
PEAK_RATE, LAST_RATE = 2e-3, 0.02  # AdamW's learning rate; the last one as a share of the first
MATRIX_RATE, MOMENTUM, DECAY = 3e-3, 0.95, 0.05  # Muon's, for the matrices of the layers
WARM_UP = 0.02  # of the run
TAG_LAYER, TAG_WEIGHT = 3, 0.5  # after how many layers the sentence's tokens are tagged; share of that loss
HELD_OUT = 128  # samples that the progress line is measured on
# Share of the run at which a level ends: bare copying, then the prompt with ever more labels and longer sentences.
CURRICULUM: tuple[tuple[float, text.Difficulty | None], ...] = (
    (0.02, None),
    (0.10, text.EASY),
    (0.25, text.MIDDLE),
    (1.01, text.FULL),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of a prompt with its answer, which begins at ``start``; ``tags`` are (position, class) of the sentence."""

    ids: list[int]
    start: int
    tags: tuple[tuple[int, int], ...] = ()


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
    samples = [text.sample(rng, level) for _ in range(count)]
    turns = [s.spec.messages(s.record.text) for s in samples]
    prompts = [tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns]
    asked = tokenizer(prompts, add_special_tokens=False, return_offsets_mapping=True)
    answered = tokenizer([s.spec.render(s.record) + END_OF_TURN for s in samples], add_special_tokens=False)[
        "input_ids"
    ]
    return [
        Row(ids + answer, len(ids), _tags(sample, prompt, offsets))
        for sample, prompt, ids, offsets, answer in zip(
            samples, prompts, asked["input_ids"], asked["offset_mapping"], answered, strict=True
        )
    ]


def _tags(sample: text.Sample, prompt: str, offsets: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """What each token of the sentence is: 0 for none, and for kind k 1 + 2k inside a mention, 2 + 2k at its end."""
    begin = prompt.rindex(sample.record.text)
    classes = [0] * len(sample.record.text)
    for start, end, kind in sample.mentions:
        classes[start:end] = [1 + 2 * kind] * (end - start - 1) + [2 + 2 * kind]
    places = ((place, last - 1 - begin) for place, (_, last) in enumerate(offsets))
    return tuple((place, classes[at]) for place, at in places if 0 <= at < len(classes))


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
    # No attention mask: attention is causal, and what stands right of an answer cannot be seen from it.
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


class Muon:
    """Momentum whose every step is a matrix with singular values near one (K. Jordan, 2024; Newton-Schulz iteration of
    degree five, steps scaled to the size of AdamW's as in arXiv:2502.16982). After 600,000 tokens its loss was what
    AdamW's was after 900,000. torch.optim.Muon iterates in bfloat16: ten times slower on a CPU without such instructions.
    """

    def __init__(self, matrices: "list[torch.Tensor]") -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": matrices, "peak": MATRIX_RATE}]
        self.averages: dict[int, torch.Tensor] = {}

    def zero_grad(self) -> None:
        for weight in self.param_groups[0]["params"]:
            weight.grad = None

    def step(self) -> None:
        import torch

        rate = self.param_groups[0]["lr"]
        wide: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        with torch.no_grad():
            for weight in self.param_groups[0]["params"]:
                average = self.averages.setdefault(id(weight), torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - MOMENTUM)
                update = weight.grad.lerp(average, MOMENTUM)
                pair = (weight.mT, update.mT) if update.shape[0] > update.shape[1] else (weight, update)
                wide.setdefault(tuple(pair[0].shape), []).append(pair)
            for (_, columns), pairs in wide.items():
                updates = orthogonal(torch.stack([update for _, update in pairs]))
                for (weight, _), update in zip(pairs, updates, strict=True):
                    weight.mul_(1 - rate * DECAY).add_(update, alpha=-0.2 * columns**0.5 * rate)


def orthogonal(matrices: "torch.Tensor") -> "torch.Tensor":
    """The nearest matrices with orthonormal rows, roughly: singular values in about [0.7, 1.2]; (n, rows, columns)."""
    import torch

    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + torch.baddbmm(-4.7750 * square, square, square, alpha=2.0315) @ x
    return x


def build_optimizers(model: Any, tagger: Any) -> list[Any]:
    """Muon for the matrices of the layers, AdamW for the rest; each group's ``peak`` is its highest learning rate."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    taken = {id(p) for p in matrices}
    others = [p for module in (model, tagger) for p in module.parameters() if id(p) not in taken]
    adam = torch.optim.AdamW([{"params": others, "peak": PEAK_RATE}], betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices), adam]


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
    from ner_common.files import read_json, write_json

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


def _step(model: Any, tagger: Any, optimizers: list[Any], rows: list[Row], pad: int) -> float:
    """One step on a batch; its loss (nats an answer token)."""
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


def train(out: Path, checkpoints: Path | None, total: int, report_every: float = 60.0) -> None:
    """Train for ``total`` tokens, print a line every ``report_every`` seconds, and save the model."""
    import torch
    from transformers import AutoTokenizer

    write_tokenizer(out, MAX_LENGTH)
    tokenizer = AutoTokenizer.from_pretrained(out)
    pad = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    model = build_model(tokenizer).to("cuda" if torch.cuda.is_available() else "cpu")
    print(f"parameters {sum(p.numel() for p in model.parameters()):,}, vocabulary {len(tokenizer):,}", flush=True)
    # Thrown away afterwards: tagging every token of a sentence teaches what an entity is ten times as fast as the few
    # label tokens of an answer do.
    tagger = torch.nn.Linear(model.config.hidden_size, 1 + 2 * len(text.KINDS)).to(model.device)
    optimizers, progress, rng = build_optimizers(model, tagger), Progress(total, report_every), random.Random(SEED)
    for end, level in CURRICULUM:
        held_out, stream = _encoded(tokenizer, random.Random(-1), level, HELD_OUT), batches(tokenizer, rng, level)
        while progress.seen < min(total, end * total):
            rows = next(stream)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["peak"] * _rate(progress.seen / total)
            if progress.add(sum(len(row.ids) for row in rows), _step(model, tagger, optimizers, rows, pad)):
                progress.report(model, held_out, pad)
                if checkpoints is not None:
                    save(model, tokenizer, checkpoints)
    save(model, tokenizer, out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("data/nano"), help="where the model goes (default: %(default)s)"
    )
    parser.add_argument("--checkpoints", type=Path, help="folder that always holds the newest state")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens to train on (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    if args.tokens <= 0:
        raise UserError("--tokens must be positive")
    train(args.out, args.checkpoints, args.tokens)
