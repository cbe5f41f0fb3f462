"""Log-probabilities of the real vLLM: aligned with the answer in every form, however it is forced."""

import asyncio
from dataclasses import replace

import pytest

from ner_data.answers import form_names
from ner_data.prompt import PromptSpec
from ner_eval import Connection, Recognizer
from ner_eval.inference.reply import Reply
from ner_eval.inference.request import MODES, request_body, sampling, structured

pytestmark = pytest.mark.serve
# Characters of several tokens, and those that are escaped in JSON or by the forms.
TEXTS = ["林晓在云帆科技任经理", '𠮷野😀在"云帆"\\科技', "韡韡[任]经理|\t无", "林晓和林晓、林晓"]


def able(form: str, mode: str) -> bool:
    return mode != "json" or form.startswith("json")


@pytest.mark.parametrize(("form", "mode"), [(f, m) for f in form_names() for m in MODES if able(f, m)])
def test_tokens_add_up_to_the_answer_and_are_not_all_certain(server, form: str, mode: str) -> None:
    trained = PromptSpec.load(server.folder / "data/alpaca/demo.prompt.json")
    spec = replace(trained, answer_form=form, max_tokens=96)
    assert mode == "off" or structured(mode, spec, "林")

    async def ask() -> list[Reply]:
        async with Connection((server.base_url,)).client() as client:
            values = sampling(spec, mode, False, confidence=True)
            bodies = [request_body(server.models[1], spec, text, values) for text in TEXTS]
            return await asyncio.gather(*(client.ask(body, "text") for body in bodies))

    for reply in asyncio.run(ask()):
        assert reply.tokens and sum(size for size, _ in reply.tokens) == len(reply.answer.encode())
        logprobs = [logprob for _, logprob in reply.tokens]
        assert all(-50 < logprob <= 0 for logprob in logprobs) and min(logprobs) < -1e-4


def test_scores_of_a_trained_adapter_are_probabilities_and_the_same_each_time(server) -> None:
    prompt = server.folder / "data/alpaca/demo.prompt.json"
    recognizer = Recognizer(server.base_url, server.models[1], prompt=prompt, confidence=True, structured="grammar")
    found = [recognizer.recognize(TEXTS) for _ in range(2)]
    scores = [score for one in found[0] for score in one.scores]
    assert scores and all(0 < score <= 1 for score in scores) and min(scores) < 0.999
    assert scores == pytest.approx([score for one in found[1] for score in one.scores], abs=0.02)
