"""The loss of a row that shares a prompt, in pieces: the scores of a vocabulary are never held for all labels at once.

The output layer of a large vocabulary is small in weights but large in results: 860 labels of a step times 152,000
tokens are 0.5 GB in float32, and transformers' loss holds several such tensors. Here each piece of the labels is
scored, and the gradient of its states is computed at once, in the forward pass, after which its scores are dropped.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

PIECE = 128  # labels at once: 78 MB in float32 with 152,000 tokens; fewer are slower, more are hardly faster
# Models (`config.model_type`) whose loss is the cross-entropy of what their output layer returns, unchanged.
MODEL_TYPES = ("glm", "llama", "qwen2", "qwen3")


def register(model: Any) -> None:
    """Make a causal language model of transformers compute its loss in pieces, if it is one of `MODEL_TYPES`.

    A model whose output layer is trained, or has adapters, keeps the loss of transformers.
    """
    head = model.get_output_embeddings()
    if (
        model.config.model_type not in MODEL_TYPES
        or type(head) is not torch.nn.Linear
        or any(weight.requires_grad for weight in head.parameters())
    ):
        return
    forward, score = model.forward, head.forward
    targets = list[torch.Tensor]()

    @wraps(forward)
    def forward_with_targets(*args: Any, **given: Any) -> Any:
        targets[:] = [given["shift_labels"]] if "shift_labels" in given else []
        return forward(*args, **given)

    def sum_of_losses(states: torch.Tensor) -> torch.Tensor:
        if not targets:
            return score(states)
        total: torch.Tensor = _SumOfLosses.apply(
            states.flatten(0, 1), targets.pop().flatten().to(states.device), score
        )
        return total

    def loss(logits: torch.Tensor, num_items_in_batch: Any = None, shift_labels: Any = None, **_: Any) -> torch.Tensor:
        return logits / (shift_labels.numel() if num_items_in_batch is None else num_items_in_batch)

    # Not a hook of the model: peft calls its forward itself.
    model.forward, head.forward, model.loss_function = forward_with_targets, sum_of_losses, loss


class _SumOfLosses(torch.autograd.Function):  # type: ignore[misc]
    """The cross-entropies of all labels, added up."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, targets: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """The sum [] in float32.

        Args:
            states: [labels, hidden], what the output layer is given.
            targets: [labels], the token that each state should predict.
            score: the output layer.
        """
        needed = ctx.needs_input_grad[0]
        gradients = torch.empty_like(states) if needed else states
        total = torch.zeros((), device=states.device)
        pieces = zip(states.split(PIECE), targets.split(PIECE), gradients.split(PIECE), strict=True)
        for piece, target, gradient in pieces:
            with torch.set_grad_enabled(needed):
                piece = piece.detach().requires_grad_(needed)
                scores = score(piece)
            # In place from here: the gradient of a cross-entropy is the probabilities, less 1 at the target.
            logarithms = torch.log_softmax(scores.detach(), dim=-1, dtype=torch.float32)
            target = target[:, None]
            total -= logarithms.gather(1, target).sum()
            if needed:
                difference = logarithms.exp_().scatter_add_(1, target, -torch.ones_like(target, dtype=torch.float32))
                gradient.copy_(torch.autograd.grad(scores, piece, difference.to(scores.dtype))[0])
        ctx.save_for_backward(gradients if needed else None)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return gradients * upstream[0], None, None
