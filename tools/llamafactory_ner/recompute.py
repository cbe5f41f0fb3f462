"""Gradient checkpointing for soft prompts.

llamafactory checkpoints a layer only if the layer itself has trainable parameters. With a soft prompt none has, so its
own checkpointing silently does nothing; and transformers withholds the key-value cache, which holds the prefix, from a
checkpointed layer. Here each layer's forward is recomputed in the backward pass with all its arguments. Non-reentrant,
because the gradient of a prefix flows through the cache, which is not a positional tensor.
"""

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def _forward(layer: Any, forward: Any, *args: Any, **kwargs: Any) -> Any:
    if layer.training and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return forward(*args, **kwargs)


def recompute_layers(model: torch.nn.Module) -> None:
    """Make every layer of `model` that supports gradient checkpointing recompute itself; calling it twice is fine.

    Raises ValueError if no layer does.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layers that support gradient checkpointing")
    for layer in layers:
        layer.gradient_checkpointing = False
        if "forward" not in vars(layer):
            layer.forward = partial(_forward, layer, layer.forward)
