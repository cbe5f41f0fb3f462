"""Answers that cannot be malformed: what a request carries for ``--structured json`` and ``grammar``.

``json``: a JSON schema of the answer form with the label set as an enum (``response_format``, OpenAI's own). The model
can still write surfaces that do not occur in the text.

``grammar``: a grammar of one text (``structured_outputs.grammar``, vLLM's own, in the Lark dialect that both of its
grammar backends, xgrammar and guidance, read): the labels are the label set's and a surface is a stretch of the text,
so that no mention can be made up.

Servers may ignore what they do not know (vLLM 0.32 does so with the older ``guided_json`` and its kin), so answers are
checked: `honoured`.

Measured with nano's tokenizer on a 2-core AMD EPYC VM: compiling the grammar of a text of 60 / 300 / 1,000 characters
takes xgrammar 6 / 26 / 199 ms and guidance 4 / 12 / 34 ms; a token then takes xgrammar 0.01 ms and guidance 0.06 / 0.2
/ 1.0 ms.
"""

import json
from typing import Any

from ner_data.answers import json_list
from ner_data.errors import UserError
from ner_data.prompt import PromptSpec, escape

MODES = ("off", "json", "grammar")
IGNORED = "the server ignores --structured: its answer is not in the form; use --structured off with this server"


def structured(mode: str, spec: PromptSpec, text: str) -> dict[str, Any]:
    """The fields that force the answer to one text into its form; none for ``off``.

    Raises:
        UserError: the prompt's answer form is not JSON, the only form that can be forced.
    """
    if mode == "off":
        return {}
    if spec.answer_form != json_list.NAME:
        raise UserError(
            f"--structured {mode}: the model answers as {spec.answer_form}; only {json_list.NAME} can be forced"
        )
    if mode == "json":
        return {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "entities", "strict": True, "schema": schema(spec.labels)},
            }
        }
    return {"structured_outputs": {"grammar": grammar(spec.labels, escape(text))}}


def honoured(mode: str, spec: PromptSpec, text: str, answer: str, finish_reason: str) -> bool:
    """Whether an answer keeps to what ``structured`` asked for; one that was cut off is given the benefit of doubt."""
    if mode == "off" or finish_reason != "stop":
        return True
    parsed = spec.parse(answer, text)
    if parsed.problems or any(mention.label not in spec.labels for mention in parsed.mentions):
        return False
    return mode != "grammar" or all(mention.text and mention.text in text for mention in parsed.mentions)


def schema(labels: tuple[str, ...]) -> dict[str, Any]:
    """JSON schema of the form json_list."""
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "label": {"type": "string", "enum": list(labels)}},
            "required": ["text", "label"],
            "additionalProperties": False,
        },
    }


def grammar(labels: tuple[str, ...], text: str) -> str:
    """Lark grammar of the form json_list in which every surface is a non-empty stretch of ``text``.

    One rule a character: a stretch begins with any of them and goes on with the next. (llguidance's ``%regex
    {"substring_chunks": …}`` says the same in a line, but allows the empty stretch.) Surfaces stand inside JSON
    strings, so each character is written as JSON escapes it and is taken whole or not at all.
    """
    if not text:
        return 'start: "[]"\n'
    chars = [json.dumps(char, ensure_ascii=False)[1:-1] for char in text]
    rules = [
        'start: "[" (item ("," item)*)? "]"',
        'item: "{\\"text\\":\\"" surface "\\",\\"label\\":" label "}"',
        "label: " + " | ".join(_literal(json.dumps(label, ensure_ascii=False)) for label in labels),
        "surface: " + " | ".join(f"c{n}" for n in range(len(chars))),
        *(f"c{n}: {_literal(char)} c{n + 1}?" for n, char in enumerate(chars[:-1])),
        f"c{len(chars) - 1}: {_literal(chars[-1])}",
    ]
    return "\n".join(rules) + "\n"


def _literal(string: str) -> str:
    return json.dumps(string, ensure_ascii=False)
