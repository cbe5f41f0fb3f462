"""nano's first weights: random, but with the two heads that copying needs already connected.

Copying is done by an induction circuit (Olsson et al. 2022, "In-context Learning and Induction Heads"): a head of one
layer writes at each position which token came before it; a head of the next layer looks for the position whose
previous token is the current one, and predicts the token found there. Training from random weights
finds this circuit only after very many tokens; with these weights the model roughly copies before its first step, and
training can focus on what to copy. The weights below are ordinary parameters and are trained like all others.
"""

from typing import Any

EMBEDDING_SCALE = 0.05  # standard deviation; large enough for a copied token's own logit to be the highest
OFFSETS = (1, 1, 2, 3)  # how far back the first heads of layer 0 look
COPYING_HEADS = 4  # the first heads of layer 1
FAST_PAIRS = 5  # rotary pairs that rotate too fast to compare contents at a distance


def connect_heads(model: Any) -> None:
    """Make layer 0's first heads look back by OFFSETS, and layer 1's first heads copy using what those wrote."""
    import torch

    settings = model.config
    width, size = settings.hidden_size, settings.hidden_size // settings.num_attention_heads
    first, second = (model.model.layers[number].self_attn for number in (0, 1))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_SCALE)
    # Orthonormal rows: what a head reads (size, width) and where it writes are independent directions.
    reads, writes, copies = (torch.nn.init.orthogonal_(torch.empty(width, width)).split(size) for _ in range(3))
    with torch.no_grad():
        for head, offset in enumerate(OFFSETS):
            rows = slice(head * size, (head + 1) * size)
            _look_back(first, rows, size, offset, settings.rope_parameters["rope_theta"])
            first.v_proj.weight[rows] = reads[head]
            first.o_proj.weight[:, rows] = 0.086 * writes[head].T  # as strong as an embedding after RMSNorm
        slow = torch.ones(size, 1)
        slow[:FAST_PAIRS] = slow[size // 2 : size // 2 + FAST_PAIRS] = 0
        for head in range(COPYING_HEADS):
            rows = slice(head * size, (head + 1) * size)
            second.q_proj.weight[rows] = 1.7 * slow * reads[head % 2]
            second.k_proj.weight[rows] = 1.7 * slow * writes[head % 2]
            second.v_proj.weight[rows] = copies[head]
            second.o_proj.weight[:, rows] = 0.25 * copies[head].T


def _look_back(attention: Any, rows: slice, size: int, offset: int, theta: float) -> None:
    """Bias a head so that its score peaks ``offset`` tokens back, whatever the contents (a rotary phase)."""
    import torch

    pairs = torch.arange(4)  # the fastest ones tell neighbouring positions apart
    turn = offset * theta ** (-2 * pairs / size)
    query, key = torch.zeros(size), torch.zeros(size)
    key[pairs] = 6.0
    query[pairs], query[pairs + size // 2] = 6.0 * torch.cos(turn), -6.0 * torch.sin(turn)
    attention.q_proj.bias[rows], attention.k_proj.bias[rows] = query, key
