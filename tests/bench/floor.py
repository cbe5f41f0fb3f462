"""The floor of a LoRA step: operations that no implementation can avoid, and how fast the machine multiplies matrices.

A matrix product of T tokens with P weights takes 2PT operations forward and 2PT for the gradient of its input (Kaplan
et al. 2020, arXiv:2001.08361, section 2.1: "2N forward, twice that backward"; the other half of their backward pass is
the gradient of the weights, which are frozen here: Hu et al. 2021, arXiv:2106.09685). So a step takes at least::

    4 * P * tokens                 linear layers, for the distinct tokens of the step (a shared prompt counts once)
    12 * width * pairs * layers    attention: scores and sums are 2 products of 2 operations for each pair of a token
                                   and one that it sees, and 4 more backward (Chowdhery et al. 2022, arXiv:2204.02311,
                                   appendix B, where every pair of a full square is counted)
    4 * hidden * vocabulary * labels    output layer, at the positions that predict a label only

The LoRA matrices (below 1 % at rank 8), norms, activations and the optimizer are left out: the floor is a little lower
than the truth. Recomputing activations (gradient checkpointing) is no part of it, because it can be avoided.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Encoded = Sequence[tuple[list[int], list[int]]]  # token ids and labels of each record


class Sizes(NamedTuple):
    """What the operations of a model depend on; `shapes` are (outputs, inputs) of the linear layers of one block."""

    layers: int
    hidden: int
    vocabulary: int
    width: int  # of all heads together
    shapes: tuple[tuple[int, int], ...]

    @property
    def weights(self) -> int:
        """Weights of all linear layers but the output layer."""
        return self.layers * sum(outputs * inputs for outputs, inputs in self.shapes)


def sizes(model: Path) -> Sizes:
    """The sizes of a model of Qwen2's kind (grouped queries, a gated MLP)."""
    config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden, inner, heads = (config[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads"))
    head = config.get("head_dim") or hidden // heads
    width, narrow = heads * head, config.get("num_key_value_heads", heads) * head
    shapes = ((width, hidden), (narrow, hidden), (narrow, hidden), (hidden, width))
    shapes += ((inner, hidden), (inner, hidden), (hidden, inner))
    return Sizes(config["num_hidden_layers"], hidden, config["vocab_size"], width, shapes)


class Work(NamedTuple):
    """What a step has to compute: distinct tokens, pairs of a token and one that it sees, and labels."""

    tokens: int
    pairs: int
    labels: int


def work(records: Encoded) -> Work:
    """What one step over these records has to compute, if what they begin with is computed once."""
    from llamafactory_ner.shared_rows import IGNORED, grouped

    tokens = pairs = 0
    for prefix, members in grouped([ids for ids, _ in records]):
        rests = [len(records[member][0]) - prefix for member in members]
        tokens += prefix + sum(rests)
        pairs += prefix * (prefix + 1) // 2 + sum(rest * prefix + rest * (rest + 1) // 2 for rest in rests)
    return Work(tokens, pairs, sum(label != IGNORED for _, labels in records for label in labels[1:]))


def operations(model: Sizes, step: Work) -> int:
    """The floating-point operations that one step cannot avoid, see above."""
    linear = 4 * model.weights * step.tokens
    attention = 12 * model.width * step.pairs * model.layers
    return linear + attention + 4 * model.hidden * model.vocabulary * step.labels


def matrix_rate(model: Sizes, step: Work, dtype: str, seconds: float = 10.0) -> float:
    """Operations per second of torch's matrix products at the model's own shapes, as in one step: the best round."""
    import torch

    kind = getattr(torch, dtype)
    products = [(step.tokens, *shape) for shape in set(model.shapes)]
    counts = [model.layers * model.shapes.count(shape) for shape in set(model.shapes)]
    products, counts = [*products, (step.labels, model.vocabulary, model.hidden)], [*counts, 1]
    fastest = [float("inf")] * len(products)
    pairs = [(torch.randn(n, k, dtype=kind), torch.randn(m, k, dtype=kind)) for n, m, k in products]
    until = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < until:
        for at, (rows, weights) in enumerate(pairs):
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weights)
            fastest[at] = min(fastest[at], time.perf_counter() - started)
        rounds += 1
    done = sum(count * 2 * n * m * k for count, (n, m, k) in zip(counts, products, strict=True))
    return done / sum(count * best for count, best in zip(counts, fastest, strict=True))


def steps_of(records: Encoded, size: int) -> Iterator[Encoded]:
    """Whole steps of `size` records."""
    for start in range(0, len(records) - size + 1, size):
        yield records[start : start + size]


def main() -> int:
    """``floor.py MODEL RECIPE STEPS RECORDS DTYPE``: print the floor of a step as JSON (see `training.py`)."""
    from ner_data.preview import encode

    base, recipe, steps, size, dtype = sys.argv[1:]
    _, records = encode(Path(recipe), [], int(steps) * int(size))
    model, each = sizes(Path(base)), [work(part) for part in steps_of(records, int(size))]
    mean = Work(*(round(sum(values) / len(each)) for values in zip(*each, strict=True)))
    needed, rate = operations(model, mean), matrix_rate(model, mean, dtype)
    print(json.dumps({"operations": needed, "rate": rate, "seconds": needed / rate, **mean._asdict()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
