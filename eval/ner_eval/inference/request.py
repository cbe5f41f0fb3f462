"""One chat completion request. It carries everything, because a server's defaults come from the model's folder
(Qwen2.5's own generation config has repetition_penalty 1.05, which hurts copying).

Structured output: with ``json`` and ``grammar`` a request carries what forces the answer into its form. ``json`` is a
JSON schema (``response_format``, OpenAI's own); the model can still write surfaces that do not occur in the text.
``grammar`` is a grammar of one text (``structured_outputs.grammar``, vLLM's own): surfaces are stretches of the text,
so no mention can be made up. Each answer form says what it can be forced by (`ner_data.answers`). Servers may ignore
what they do not know (vLLM 0.32 ignores the older ``guided_json`` and its kin), so answers are checked: `honoured`.
"""

from typing import Any

from ner_common.errors import UserError
from ner_data.answers import FORMS
from ner_data.prompt import PromptSpec, escape

MODES = ("off", "json", "grammar")
IGNORED = "the server ignores --structured: its answer is not in the form; use --structured off with this server"


def sampling(spec: PromptSpec, mode: str, openai_only: bool) -> dict[str, Any]:
    """What every request of a run carries besides model and messages; ``mode`` is one of `MODES`.

    ``openai_only`` leaves out repetition_penalty, which vLLM and its kin know and OpenAI does not.
    """
    values: dict[str, Any] = {"temperature": 0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "seed": 0}
    if not openai_only:
        values["repetition_penalty"] = 1.0
    return {**values, "max_tokens": spec.max_tokens, "structured": mode}


def request_body(model: str, spec: PromptSpec, text: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """The body of one request for one text, with the ``sampling`` of the run."""
    values = {key: value for key, value in sampling.items() if key != "structured"}
    forced = structured(sampling["structured"], spec, text)
    return {"model": model, "messages": spec.messages(text), **values, **forced}


def structured(mode: str, spec: PromptSpec, text: str) -> dict[str, Any]:
    """The fields that force the answer to one text into its form; none for ``off``.

    Raises:
        UserError: the prompt's answer form cannot be forced this way.
    """
    if mode == "off":
        return {}
    fields = FORMS[spec.answer_form].structured(mode, spec.labels, escape(text))
    if fields is None:
        raise UserError(
            f"--structured {mode}: answers in the form {spec.answer_form} cannot be forced this way; use off"
        )
    return dict(fields)


def honoured(mode: str, spec: PromptSpec, text: str, answer: str, finish_reason: str) -> bool:
    """Whether an answer keeps to what ``structured`` asked for; one that was cut off is given the benefit of doubt."""
    if mode == "off" or finish_reason != "stop":
        return True
    parsed = spec.parse(answer, text)
    if parsed.problems or any(mention.label not in spec.labels for mention in parsed.mentions):
        return False
    return mode != "grammar" or all(mention.text and mention.text in text for mention in parsed.mentions)
