"""One chat completion request. It carries everything, because a server's defaults come from the model's folder.

(Qwen2.5's own generation config has repetition_penalty 1.05, which hurts copying.)
"""

from typing import Any

from ner_data.prompt import PromptSpec
from ner_eval.structured import structured


def sampling(spec: PromptSpec, mode: str, openai_only: bool) -> dict[str, Any]:
    """What every request of a run carries besides model and messages; ``mode`` is one of `structured.MODES`.

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
