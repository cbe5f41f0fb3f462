"""What vLLM needs to serve soft prompts, by the kind of adapter, checked before the slow start.

Prefix tuning goes through our KV connector (`kv_connector`); P-tuning is baked into a copy of the base model
(`baking`). Clients choose both by name: the middleware (`middleware`) sets the variable `soft_prompt`, which the
chat template puts first.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llamafactory_ner.checks.configs import read_model_config
from ner_common.adapters import WEIGHTS
from ner_common.errors import UserError, rooted
from ner_common.files import read_json, read_text
from ner_common.weights import stored_tensors
from ner_models.serving.adapters import Adapter
from ner_models.serving.middleware import VARIABLE, limits

KINDS = PREFIX, P_TUNING = "PREFIX_TUNING", "P_TUNING"
LOGPROBS = (
    "with a P-tuning adapter, the logprobs of all models in this server are those that are sampled from: after "
    "temperature, top_p, top_k and penalties; at temperature 0 or 1 without the others, they are as usual"
)
TEMPLATE_HEAD = "{{- soft_prompt | default('') -}}"


TOKENIZER_CONFIG = "tokenizer_config.json"


class _Special(msgspec.Struct, frozen=True):
    content: str


class _TokenizerConfig(msgspec.Struct, frozen=True):
    eos_token: str | _Special | None = None
    pad_token: str | _Special | None = None
    chat_template: Any = None


class _Added(msgspec.Struct, frozen=True):
    content: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    special: bool = False


class _Tokenizer(msgspec.Struct, frozen=True):
    added_tokens: list[_Added] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SoftPrompts:
    """What soft prompts add to vLLM's command and environment; empty if there are none."""

    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)  # written before vLLM starts
    notes: list[str] = field(default_factory=list)  # for the user who starts it


def plan(base: Path, served_base: str, adapters: list[Adapter], context: int, folder: Path) -> SoftPrompts:
    """Work out how to serve the soft prompts among `adapters` on `base`; its chat template goes into `folder`.

    Raises:
        UserError: a soft prompt leaves no room in `context` tokens, or its weights are damaged.
    """
    soft = [adapter for adapter in adapters if adapter.kind in KINDS]
    if not soft:
        return SoftPrompts()
    for adapter in soft:
        check_fit(adapter, base, context)
        check_stored(adapter)
    baked = [adapter for adapter in soft if adapter.kind == P_TUNING]
    placeholder, placeholder_id = find_placeholder(base)
    own = dict(zip((adapter.name for adapter in baked), virtual_tokens_of(baked), strict=True))
    entries = {
        adapter.name: {"text": placeholder * tokens_of(adapter), "prefix": True}
        if adapter.kind == PREFIX
        else {"text": "".join(own[adapter.name]), "prefix": False}
        for adapter in soft
    }
    text = TEMPLATE_HEAD + chat_template(base)
    # By its content: two servers may have bases of one name.
    template = folder / f"{served_base}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.jinja"
    names = [adapter.name for adapter in soft]
    notes = [limits(names)]
    arguments = ["--chat-template", str(template), "--middleware", "ner_models.serving.middleware.SoftPromptNames"]
    prefixes = [adapter for adapter in soft if adapter.kind == PREFIX]
    if prefixes:
        arguments += ["--kv-transfer-config", json.dumps(connector_config(prefixes, placeholder_id))]
    if baked:
        arguments += ["--logits-processors", "ner_models.serving.logits_mask:VirtualTokenMask"]
        # By default they are taken before the mask, and virtual tokens would have a share of every model's.
        arguments += ["--logprobs-mode", "processed_logprobs"]
        notes.append(LOGPROBS)
    environment = {VARIABLE: json.dumps({"base": served_base, "soft_prompts": entries})}
    return SoftPrompts(names, arguments, environment, {template: text}, notes)


def connector_config(prefixes: list[Adapter], placeholder_id: int) -> dict[str, Any]:
    """vLLM's `--kv-transfer-config` for ner_models.serving.kv_connector."""
    entries = {a.name: {"path": str(a.path.resolve()), "tokens": tokens_of(a)} for a in prefixes}
    return {
        "kv_connector": "PrefixConnector",
        "kv_connector_module_path": "ner_models.serving.kv_connector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"placeholder": placeholder_id, "prefixes": entries},
    }


def tokens_of(adapter: Adapter) -> int:
    return adapter.config.num_virtual_tokens or 0


def check_fit(adapter: Adapter, base: Path, context: int | None = None) -> None:
    """Refuse an adapter that fills `context` (default: all positions of the base).

    Raises:
        UserError: it does not fit.
    """
    config = read_model_config(base)
    positions = config.max_position_embeddings if config else None
    room, remedy = context or positions, "train a shorter one"
    if context and positions and context < positions:
        remedy = "raise --max-model-len, or train a shorter one"
    if room and tokens_of(adapter) >= room:
        raise UserError(
            f"{rooted(adapter.path)}: its {tokens_of(adapter)} virtual tokens leave no room in {room}; {remedy}"
        )


def check_stored(adapter: Adapter) -> None:
    """Refuse a soft prompt whose weights are not what its configuration says.

    Raises:
        UserError: there is no ``prompt_embeddings``, or it has another number of virtual tokens.
    """
    stored = stored_tensors(adapter.path / WEIGHTS).get("prompt_embeddings")
    if stored is None or len(stored.shape) != 2 or stored.shape[0] != tokens_of(adapter):
        shape = stored.shape if stored else "not there"
        problem = f"prompt_embeddings is {shape}, the configuration says {tokens_of(adapter)} virtual tokens"
        raise UserError(f"{rooted(adapter.path / WEIGHTS)}: {problem}; train it again")


def find_placeholder(base: Path) -> tuple[str, int]:
    """A special token (text, id) of the base that does not end answers, to mark the positions of a prefix in a prompt.

    Raises:
        UserError: the tokenizer has none.
    """
    tokenizer = read_json(base / "tokenizer.json", "the base model has no fast tokenizer", _Tokenizer)
    settings = read_json(base / TOKENIZER_CONFIG, "the base model is incomplete", _TokenizerConfig)
    ending = {
        token.content if isinstance(token, _Special) else token for token in (settings.eos_token, settings.pad_token)
    }
    for token in tokenizer.added_tokens:
        if token.special and token.content not in ending:
            return token.content, token.id
    raise UserError(
        f"{rooted(base / 'tokenizer.json')}: has no special token to mark a prefix's positions; use another base model"
    )


def chat_template(base: Path) -> str:
    """The base model's own chat template.

    Raises:
        UserError: it has none.
    """
    separate = base / "chat_template.jinja"
    if separate.is_file():
        return read_text(separate, "the base model is incomplete")
    template = read_json(base / TOKENIZER_CONFIG, "the base model is incomplete", _TokenizerConfig).chat_template
    if not isinstance(template, str):
        raise UserError(
            f"{rooted(base)}: has no chat template, so vLLM cannot serve chats with it; add chat_template.jinja"
        )
    return template


def virtual_tokens(count: int) -> list[str]:
    """The names of `count` baked virtual tokens; they do not occur in ordinary text."""
    return [f"<|ner_virtual_{number}|>" for number in range(count)]


def virtual_tokens_of(baked: Sequence[Adapter]) -> list[list[str]]:
    """The names of the virtual tokens of each of several adapters that are baked into one base."""
    names = iter(virtual_tokens(sum(map(tokens_of, baked))))
    return [list(islice(names, tokens_of(adapter))) for adapter in baked]
