"""One chat completion request. It sets all parameters, because a server's defaults come from the model's folder
(Qwen2.5's own generation config has repetition_penalty 1.05, which hurts copying).

Structured output: with ``json`` and ``grammar`` a request carries fields that force the answer into its form. ``json``
is a JSON schema (OpenAI's ``response_format``); the model can still write surfaces that do not occur in the text.
``grammar`` is a grammar for one text (vLLM's ``structured_outputs.grammar``): every surface is a substring of it, so
no mention can be made up, and no white space is optional. Each answer form defines how it can be forced
(`ner_data.answers`). Servers may ignore unknown fields (vLLM 0.32 ignores the older ``guided_json``), or let a model
fill up JSON with white space, so answers are checked: see `ask`.
"""

import re
from typing import TYPE_CHECKING, Any

from ner_common.errors import UserError
from ner_data.answers import form_names, load_form
from ner_data.prompt import PromptSpec, escape
from ner_eval.confidence.tokens import NO_LOGPROBS
from ner_eval.inference.failures import RequestRefused, shown
from ner_eval.inference.reply import Reply

if TYPE_CHECKING:
    from ner_eval.inference.client import Client

TEMPERATURE = 0.7  # of answers that are drawn at random to vote
MODES = ("off", "json", "grammar")
BLANKS = 32  # at the end of an answer that is cut: more than the indentation of any JSON
PADDED = (
    "the server lets the model fill up its JSON with white space, up to max_tokens; such texts are asked for again "
    "as with --structured grammar, which has none; faster: start vLLM as `ner-model serve` does, with "
    '--structured-outputs-config \'{"backend": "guidance", "disable_any_whitespace": true}\''
)
IGNORED = "the server ignores --structured (its answer breaks the form); use --structured off with this server"


def sampling(
    spec: PromptSpec, mode: str, openai_only: bool, confidence: bool = False, draw: int | None = None
) -> dict[str, Any]:
    """The parameters of every request of a run, in addition to model and messages; ``mode`` is one of `MODES`.

    ``openai_only`` leaves out repetition_penalty and enable_thinking, which vLLM has and OpenAI does not.
    ``confidence`` asks for the log-probabilities of the answer's tokens; ``draw``, which is the seed, for an answer
    drawn at random (`TEMPERATURE`) instead of the most likely one.

    Raises:
        UserError: the prompt's answer form cannot be forced by ``mode``.
    """
    structured(mode, spec, "")  # raises here, before a run writes anything
    values: dict[str, Any] = {"temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "seed": 0}
    if not openai_only:
        values |= {"repetition_penalty": 1.0, **spec.template_arguments}
    if draw is not None:
        values |= {"temperature": TEMPERATURE, "seed": draw}
    elif confidence:
        values["logprobs"] = True
    return {**values, "max_tokens": spec.max_tokens, "structured": mode}


def request_body(model: str, spec: PromptSpec, text: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """The body of one request for one text, with the ``sampling`` of the run."""
    values = {key: value for key, value in sampling.items() if key not in ("structured", "enable_thinking")}
    if "enable_thinking" in sampling:
        values["chat_template_kwargs"] = {"enable_thinking": sampling["enable_thinking"]}
    forced = structured(sampling["structured"], spec, text)
    return {"model": model, "messages": spec.messages(text), **values, **forced}


async def ask(client: "Client", model: str, spec: PromptSpec, text: str, sampling: dict[str, Any], name: str) -> Reply:
    """Ask for one text, ``name`` in errors, and check that the reply has what was asked for.

    JSON that is filled up with white space is asked for again with a grammar, and the client says so once.

    Raises:
        RequestRefused: the server does not force the form, or sends no log-probabilities.
        RecordRefused, RecordFailed, ServerUnavailable: see `Client.ask`.
    """
    reply = await client.ask(request_body(model, spec, text, sampling), name)
    problem = problem_of(reply, spec, text, sampling)
    if problem == PADDED:
        client.notice_once(PADDED)
        return await ask(client, model, spec, text, with_grammar(sampling), name)
    if problem:
        raise RequestRefused(f"{shown(name)}: {problem}")
    return reply


def with_grammar(sampling: dict[str, Any]) -> dict[str, Any]:
    """The parameters for a text whose JSON was filled up with white space."""
    return {**sampling, "structured": "grammar"}


def problem_of(reply: Reply, spec: PromptSpec, text: str, sampling: dict[str, Any]) -> str | None:
    """What a reply to a request with this ``sampling`` lacks of what was asked for, or None."""
    problem = fault(sampling["structured"], spec, text, reply.answer, reply.finish_reason)
    if not problem and sampling.get("logprobs") and reply.tokens is None:
        return NO_LOGPROBS
    return problem


def structured(mode: str, spec: PromptSpec, text: str) -> dict[str, Any]:
    """The fields that force the answer to one text into its form; none for ``off``.

    Raises:
        UserError: the prompt's answer form cannot be forced by ``mode``.
    """
    if mode == "off":
        return {}
    fields = load_form(spec.answer_form).structured(mode, spec.labels, escape(text))
    if fields is None:
        modes = ["off", *(other for other in MODES[1:] if _forces(other, spec.answer_form, spec))]
        forms = [name for name in form_names() if _forces(mode, name, spec)]
        able = f"it can force: {', '.join(forms) or 'none'}"
        raise UserError(
            f"--structured {mode}: cannot force the answer form {spec.answer_form} ({able}); "
            f"use --structured {' or '.join(modes)}"
        )
    return fields


def _forces(mode: str, form: str, spec: PromptSpec) -> bool:
    return load_form(form).structured(mode, spec.labels, "") is not None


def fault(mode: str, spec: PromptSpec, text: str, answer: str, finish_reason: str) -> str | None:
    """Why an answer shows that the server does not force the form by `structured` as it should, or None.

    A truncated one gets the benefit of the doubt, unless white space between the parts of its JSON fills it up.
    """
    if mode == "json" and finish_reason == "length":
        said = answer.rstrip(" \t\r\n")
        in_string = re.sub(r"\\.", "", said).count('"') % 2
        return PADDED if len(answer) - len(said) >= BLANKS and not in_string else None
    if mode == "off" or finish_reason != "stop":
        return None
    parsed = spec.parse(answer, text)
    good = not parsed.problems and all(mention.label in spec.labels for mention in parsed.mentions)
    if mode == "grammar":
        good = good and all(mention.text and mention.text in text for mention in parsed.mentions)
    return None if good else IGNORED
