"""How nano's weights are updated: Muon for the matrices of the layers, AdamW for the rest, one schedule for both."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PEAK_RATE, LAST_RATE = 2e-3, 0.02  # AdamW's learning rate; the last one as a share of the first
MATRIX_RATE, MOMENTUM, DECAY = 3e-3, 0.95, 0.05  # Muon's, for the matrices of the layers
WARM_UP = 0.02  # of the run


class Muon:
    """Momentum whose every step is a matrix with singular values near one (K. Jordan, 2024; Newton-Schulz iteration of
    degree five, steps scaled to the size of AdamW's as in arXiv:2502.16982).

    It needs fewer tokens than AdamW for the same loss. Not torch.optim.Muon, which iterates in bfloat16: that is slow
    on a CPU without such instructions.
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


def rate_share(done: float) -> float:
    """The learning rate as a share of its peak: warm-up, then a cosine down to LAST_RATE; ``done`` in [0, 1]."""
    if done < WARM_UP:
        return max(done, 1e-4) / WARM_UP
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))
