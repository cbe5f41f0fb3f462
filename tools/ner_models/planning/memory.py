"""What a training and a server hold in memory, in bytes.

Training, at its peak: the weights; what is trained with its gradient and Adam's two moments in float32 (16 bytes each;
Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1, without the half-precision copies); what the forward pass keeps
for the backward pass (below); and the scores of the vocabulary. With gradient checkpointing (Chen et al. 2016,
arXiv:1604.06174) only the input of each layer is kept, and one layer at a time is computed again.

What one layer keeps for the backward pass was counted with torch's saved_tensors_hooks on Qwen2 and Qwen3 with LoRA
in transformers 5.6 and PEFT 0.18 (as Korthikanti et al. 2022, arXiv:2205.05198, section 4.1, do for their model). Per
token: the inputs of the LoRA matrices (queries, keys and values share one in float32; in bfloat16 autocast copies it
for each), four of the MLP's width (gate, its activation, up, their product), the sum before the MLP, what attention
keeps (queries and result, keys and values). Attention over shared prompts keeps rests as a padded batch, and the
prompt's keys once for each of them (`llamafactory_ner.shared_attention`).
"""

from dataclasses import dataclass
from typing import Any

from llamafactory_ner.methods import DEFAULT_VIRTUAL_TOKENS
from ner_models.planning.batches import Batch
from ner_models.planning.shapes import Shape
from ner_models.planning.sharding import GRADIENTS, OPTIMIZER, WEIGHTS, Sharding

NF4 = 4.127 / 8  # bytes of a weight with its scales, which are quantised too (Dettmers et al. 2023, arXiv:2305.14314)
# Bytes for each trained number: itself, its gradient, the optimizer's state (Adam's two moments; DeepSpeed in 16 bits:
# and a copy in float32, arXiv:1910.02054, section 3.1).
TRAINED, TRAINED_BY_DEEPSPEED = (4, 4, 8), (2, 2, 12)
PIECE = 128  # labels whose scores exist at once: `llamafactory_ner.label_loss.PIECE`
# Before and beside the model. CPU: Python, torch, llamafactory and the records, measured on 2026-11-29 (docs/log.md).
PROCESS_ON_CPU = int(0.75e9)
# vLLM's three processes (API, engine, worker) before the model, measured on 2026-11-29 (docs/log.md).
SERVER_ON_CPU = int(1.9e9)
# CUDA's context, its libraries and the allocator's holes: assumed, measured on no GPU.
PROCESS_ON_GPU = int(0.8e9)


@dataclass(frozen=True, slots=True)
class Method:
    """How a recipe trains, as far as memory depends on it.

    Attributes:
        kind: lora, full, p_tuning or prefix_tuning.
        trained: trained numbers.
        bits4: whether the base is stored in 4 bits.
        dora: whether DoRA takes the norms of the weights, in float32.
        number: bytes of a number that is computed with.
        recompute: gradient checkpointing.
        shared: whether a batch shares its prompt.
        virtual: virtual tokens.
    """

    kind: str
    trained: int
    bits4: bool
    dora: bool
    number: int
    recompute: bool
    shared: bool
    virtual: int


def method_of(given: dict[str, Any], shape: Shape, number: int) -> Method:
    """The method of a recipe, with the keys that it gives."""
    kind = str(given.get("finetuning_type", "lora")).removeprefix("peft_")
    virtual = 0
    if kind in ("p_tuning", "prefix_tuning"):
        virtual = int(given.get("num_virtual_tokens") or given.get("pre_seq_len") or DEFAULT_VIRTUAL_TOKENS)
    dora = bool(given.get("use_dora"))
    return Method(
        kind=kind,
        trained=_trained(kind, given, shape, virtual, dora),
        bits4=given.get("quantization_bit") == 4,
        dora=dora,
        number=number,
        recompute=not given.get("disable_gradient_checkpointing"),
        shared=bool(given.get("share_prompt")),
        virtual=virtual,
    )


def _trained(kind: str, given: dict[str, Any], shape: Shape, virtual: int, dora: bool) -> int:
    hidden, layers = shape.hidden_size, shape.num_hidden_layers
    if kind == "full":
        return shape.parameters
    if kind == "p_tuning":  # PEFT's PromptEncoder: an embedding and three layers with biases
        inner = int(given.get("prompt_encoder_hidden_size") or hidden)
        return virtual * hidden + (hidden + 1) * inner + (inner + 1) * inner + (inner + 1) * hidden
    if kind == "prefix_tuning":
        kept = 2 * layers * shape.narrow
        if not given.get("prefix_projection"):
            return virtual * kept
        inner = int(given.get("prompt_encoder_hidden_size") or shape.narrow)
        return virtual * shape.narrow + (shape.narrow + 1) * inner + (inner + 1) * kept
    rank = int(given.get("lora_rank") or 8)
    return layers * sum(rank * (ins + outs) + (outs if dora else 0) for outs, ins in shape.linear)


def weights(shape: Shape, method: Method, sharding: Sharding) -> int:
    """Of the base model; those that are trained are float32. If they are divided, a layer at a time is whole."""
    if method.kind == "full":
        held = _trained_bytes(method, sharding)[0] * shape.parameters
    elif method.bits4:
        held = int(shape.linear_weights * NF4) + (shape.parameters - shape.linear_weights) * method.number
    else:
        held = shape.parameters * method.number
    share = sharding.share(held, WEIGHTS)
    layer = max(shape.linear_weights // shape.num_hidden_layers, shape.vocab_size * shape.hidden_size)
    return share if share == held else share + layer * method.number


def training_state(shape: Shape, method: Method, sharding: Sharding) -> int:
    """What is trained (unless it is the model itself), gradients and Adam's moments; DoRA's copies for its norms."""
    weight, gradient, optimizer = (size * method.trained for size in _trained_bytes(method, sharding))
    own = 0 if method.kind == "full" else sharding.share(weight, WEIGHTS)
    copies = 2 * 4 * max(outs * ins for outs, ins in shape.linear) if method.dora else 0
    return own + sharding.share(gradient, GRADIENTS) + sharding.share(optimizer, OPTIMIZER) + copies


def _trained_bytes(method: Method, sharding: Sharding) -> tuple[int, int, int]:
    return TRAINED_BY_DEEPSPEED if sharding.deepspeed and method.number == 2 else TRAINED


def kept_layers(shape: Shape, method: Method, batch: Batch) -> int:
    """What the forward pass keeps of all layers for the backward pass; with checkpointing, their inputs."""
    tokens = batch.tokens + _own_tokens(method, batch)
    inputs = shape.num_hidden_layers * tokens * shape.hidden_size * method.number
    return inputs if method.recompute else inputs + shape.num_hidden_layers * _layer(shape, method, batch)


def working_layer(shape: Shape, method: Method, batch: Batch) -> int:
    """One layer in the backward pass: what it keeps (if it was computed again), and gradients of the MLP's width."""
    tokens = batch.tokens + _own_tokens(method, batch)
    gradients = tokens * (2 * shape.intermediate_size + 2 * shape.hidden_size) * 4
    if method.bits4:  # one matrix at a time is expanded
        gradients += method.number * max(outs * ins for outs, ins in shape.linear)
    return gradients + (_layer(shape, method, batch) if method.recompute else 0)


def scores(shape: Shape, method: Method, batch: Batch) -> int:
    """The vocabulary's scores, their logarithms and their gradients: in pieces if the output layer is frozen."""
    half = method.number == 2
    if method.shared and method.kind != "full":
        return min(batch.labels, PIECE) * shape.vocab_size * 8 + 2 * batch.labels * shape.hidden_size * method.number
    rows = batch.labels if method.shared else batch.tokens + _own_tokens(method, batch)
    return rows * shape.vocab_size * (16 if half else 12)


def server(shape: Shape, number: int, cache: int, on_cpu: bool) -> int:
    """What vLLM holds with a cache of keys and values of this size; on a CPU with its processes, and the output layer
    twice: vllm 0.32 packs the weights for oneDNN and keeps the embedding's own (`dispatch_cpu_unquantized_gemm`)."""
    twice = shape.vocab_size * shape.hidden_size * number + SERVER_ON_CPU if on_cpu else 0
    return shape.parameters * number + cache + twice


def key_cache(shape: Shape, number: int) -> int:
    """Of one token in a server: keys and values of all layers (Pope et al. 2022, arXiv:2211.05102, section 2.1)."""
    return 2 * shape.num_hidden_layers * shape.narrow * number


def _own_tokens(method: Method, batch: Batch) -> int:
    """Virtual tokens that pass through the layers: p_tuning's, for each record unless it is shared."""
    return method.virtual * (1 if method.shared else batch.records) if method.kind == "p_tuning" else 0


def _layer(shape: Shape, method: Method, batch: Batch) -> int:
    """What one layer keeps for the backward pass beside its input."""
    hidden, inner, width = shape.hidden_size, shape.intermediate_size, shape.width
    tokens, half = batch.tokens + _own_tokens(method, batch), method.number == 2
    numbers = 4 * inner
    if method.kind in ("lora", "full"):  # soft prompts train no matrix, so nothing keeps a matrix's input
        numbers += (5 if half else 2) * hidden
        numbers += width if half or method.shared else 0
    # The sum before the MLP; in bfloat16, the inputs of both norms in float32 instead.
    size = numbers * method.number + (2 if half else 1) * 4 * hidden
    if shape.model_type == "qwen3":  # norms of queries and keys
        size += 4 * (width + shape.narrow)
    return tokens * size + _attention(shape, method, batch)


def _attention(shape: Shape, method: Method, batch: Batch) -> int:
    """What attention keeps: queries and their result, keys and values, and the mask of the rests as numbers."""
    if not method.shared:
        return batch.tokens * 2 * (shape.width + shape.narrow) * method.number
    rests = batch.records * batch.longest
    prompt = batch.prompt + method.virtual
    seen = batch.records * (prompt + batch.longest)
    groups = shape.width // shape.narrow
    numbers = 2 * (rests + prompt) * shape.width + 2 * seen * shape.narrow + groups * batch.longest * seen
    return numbers * method.number
