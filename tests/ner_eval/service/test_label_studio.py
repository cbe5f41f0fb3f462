"""The addresses that Label Studio calls, as it calls them, and Label Studio itself in front of them."""

import base64
from typing import Any

import pytest

from api_process import Api
from faulty import Faulty, Script, completion, failure
from ner_data.formats import load_format
from scored_answers import giving, refusing_scores

TEXT = "林晓在云帆科技任经理"
LABELS = '<Label value="公司" alias="company"/><Label value="name"/><Label value="动物"/>'
INTERFACE = f'<View><Labels name="tags" toName="words">{LABELS}</Labels><Text name="words" value="$sentence"/></View>'
BOMB = '<!DOCTYPE a [<!ENTITY b "0123456789"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><View>&c;</View>'


def asked(*texts: str, interface: str = INTERFACE, key: str = "sentence") -> dict[str, Any]:
    """What Label Studio sends for some tasks."""
    tasks = [{"id": n, "project": 1, "data": {key: text}, "meta": {}} for n, text in enumerate(texts, start=1)]
    context = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": "1.1764", "label_config": interface, "params": context}


def call(api: Api, name: str, body: Any, **headers: str) -> Any:
    reply = api.client.post(f"/label-studio/{name}", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(api: Api, name: str, body: Any, status: int = 422, **headers: str) -> str:
    reply = api.client.post(f"/label-studio/{name}", json=body, headers=headers)
    assert reply.status_code == status, reply.text
    said: str = reply.json()["error"]
    assert "\n" not in said and len(said) < 400
    return said


def test_a_task_gets_what_the_model_finds_with_scores_in_the_terms_of_the_project(api: Api, engine: Faulty) -> None:
    engine.script = giving([("name", "林晓", 0.9), ("company", "云帆科技", 0.5), ("position", "经理", 0.1)])
    first, second = call(api, "predict", asked(TEXT, f"昨日{TEXT}"))["results"]
    assert [list(value["value"].values()) for value in first[0]["result"]] == [
        [0, 2, "林晓", ["name"]],
        [3, 7, "云帆科技", ["company"]],  # its alias; `position` is not in the project
    ]
    assert {(one["from_name"], one["to_name"], one["type"]) for one in first[0]["result"]} == {
        ("tags", "words", "labels")
    }
    assert [one["score"] for one in first[0]["result"]] == [0.9, 0.5] and first[0]["score"] == 0.5
    assert second[0]["result"][0]["value"]["start"] == 2
    version = call(api, "setup", {"project": "1.1764", "schema": INTERFACE, "access_token": "t", "hostname": "h"})
    assert version == {"model_version": "nano"} and first[0]["model_version"] == "nano"
    assert api.client.get("/label-studio/versions").json() == {"versions": ["nano"]}


def test_predictions_are_what_the_export_for_label_studio_holds(api: Api, engine: Faulty) -> None:
    """One form for both ways, which is read back as gold once somebody has submitted it."""
    engine.script = giving([("name", "林晓", 0.9)])
    ((made,),) = call(api, "predict", asked(TEXT))["results"]
    reader = load_format("label_studio", {"text": "sentence"})
    task = {"id": 1, "data": {"sentence": TEXT}, "annotations": [{"result": made["result"]}]}
    sample = reader.sample(1, task, True)  # type: ignore[attr-defined]
    assert [(e.start, e.end, e.label) for e in sample.entities] == [(0, 2, "name")]


def test_what_it_needs_besides_is_answered(api: Api) -> None:
    assert api.client.get("/label-studio/health").json() == {"status": "UP"}
    assert call(api, "webhook", {"action": "ANNOTATION_CREATED", "annotation": {"id": 1}}) == {}
    assert call(api, "predict", asked()) == {"results": []}


@pytest.mark.parametrize("script", [None, refusing_scores])
def test_an_engine_without_scores_gives_predictions_without(api: Api, engine: Faulty, script: Script | None) -> None:
    engine.script = script
    ((made,),) = call(api, "predict", asked(TEXT))["results"]
    assert len(made["result"]) == 1 and made.keys() == {"result", "model_version"}
    assert made["result"][0].keys() == {"from_name", "to_name", "type", "value"}


def test_tasks_of_an_engine_without_scores_count_once_towards_the_rate(start_api: Any) -> None:
    with start_api("--rate", 0.1, "--burst", 4) as api:
        assert len(call(api, "predict", asked(*[TEXT] * 5))["results"]) == 5  # the bucket may be overdrawn
        assert "wait" in refused(api, "predict", asked(TEXT), 429)


def test_labels_are_those_of_the_first_tag_that_shares_any_with_the_model(api: Api) -> None:
    other = '<Labels name="other" toName="words"><Label value="动物"/></Labels>'
    ((made,),) = call(api, "predict", asked(TEXT, interface=INTERFACE.replace("<Labels", f"{other}<Labels", 1)))[
        "results"
    ]
    assert made["result"][0]["from_name"] == "tags"


def test_a_text_without_an_answer_gets_no_prediction(api: Api, engine: Faulty) -> None:
    async def refuse(server: Faulty, body: dict[str, Any]) -> Any:
        if "雨" in body["messages"][-1]["content"]:
            return failure(400, "too long")
        return completion("[]")

    engine.script = refuse
    nothing, unanswered = call(api, "predict", asked("风停了。", "下雨了。"))["results"]
    assert nothing == [{"result": [], "model_version": "nano"}]  # nothing is there, which is an answer
    assert unanswered == []


@pytest.mark.parametrize(
    ("interface", "says"),
    [
        ("", "not XML"),
        ("<View>", "not XML"),
        (BOMB, "document type"),
        ("<View><Text name='words' value='$sentence'/></View>", "no labels for a text"),
        ("<View><Labels name='a' toName='b'><Label value='name'/></Labels></View>", "no labels for a text"),
        ("<View><Choices name='a' toName='words'/><Text name='words' value='$s'/></View>", "no labels for a text"),
        (INTERFACE.replace('name="tags"', ""), "no labels for a text"),
        (
            INTERFACE.replace("company", "x").replace('"name"/>', '"姓名"/>'),
            "('x', '姓名', '动物'); it has name, company",
        ),
    ],
)
def test_an_interface_that_cannot_be_filled_is_refused(api: Api, interface: str, says: str) -> None:
    assert says in refused(api, "setup", {"schema": interface})
    assert says in refused(api, "predict", asked(TEXT, interface=interface))


def test_bodies_that_label_studio_would_not_send_are_refused(api: Api) -> None:
    assert "sentence" in refused(api, "predict", asked(TEXT, key="text"))
    assert "tasks" in refused(api, "predict", {"label_config": INTERFACE})
    assert "schema" in refused(api, "setup", {})
    assert "50" in refused(api, "predict", asked(*[TEXT] * 51), 413)
    empty = api.client.post("/label-studio/predict", content=b"", headers={"content-type": "application/json"})
    assert empty.status_code == 400


def test_its_key_is_the_password_that_a_project_is_connected_with(start_api: Any) -> None:
    with start_api(NER_API_KEYS="key-one") as api:
        for word, status in (("any:key-one", 200), (":key-one", 200), ("key-one:", 401), ("any:key-two", 401)):
            header = f"Basic {base64.b64encode(word.encode()).decode()}"
            for name, body in (("setup", {"schema": INTERFACE}), ("predict", asked(TEXT)), ("webhook", {})):
                reply = api.client.post(f"/label-studio/{name}", json=body, headers={"authorization": header})
                assert reply.status_code == status, (word, name, reply.text)
        assert refused(api, "predict", asked(TEXT), 401, authorization="Basic key-one")
        assert api.client.get("/label-studio/health").status_code == 200
        assert api.client.get("/label-studio/versions").status_code == 401
