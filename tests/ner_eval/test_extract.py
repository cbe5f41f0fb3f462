"""`ner-eval extract`: files and pipes in, entities with offsets out, whatever the server does."""

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from faulty import Faulty, completion, drop, failure, slow
from ner_data.gold import Entity
from ner_data.prompt import PromptSpec
from ner_eval.reporting.terminal import highlight

PROMPT = "data/alpaca/demo.prompt.json"
EXTRACT = ("extract", "--model", "nano", "--prompt", PROMPT, "--wait", "0")


def entity(text: str, surface: str, label: str = "name") -> dict:
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), "label": label, "text": surface}


# --- files and pipes -------------------------------------------------------------------------------------------------


def test_lines_json_and_csv_come_out_in_order_with_their_fields(work, ner_eval) -> None:
    Path("a.txt").write_text("林晓在\n\n王五在\r\n", encoding="utf-8")
    Path("b.jsonl").write_text('{"id": 7, "body": "赵六\\u2028在", "x": [1]}\n"孙七在"\n', encoding="utf-8")
    Path("c.csv").write_text('\ufeffn,body\n1,"周八\n在"\n', encoding="utf-8")
    with Faulty(slow(0, 0.1)) as server:
        ended = ner_eval(*EXTRACT, "--base-url", server.base_url, "--field", "body", "a.txt", "b.jsonl", "c.csv")
    assert ended.code == 0, ended.err
    texts = ["林晓在", "王五在", "赵六\u2028在", "孙七在", "周八\n在"]
    known = [{"id": "a.txt:1"}, {"id": "a.txt:3"}, {"id": 7, "body": texts[2], "x": [1]}, {"id": "b.jsonl:2"}]
    known.append({"id": "c.csv:3", "n": "1", "body": texts[4]})
    assert [json.loads(line) for line in ended.out.rstrip("\n").split("\n")] == [
        {**fields, "text": text, "entities": [entity(text, text[:2])], "problems": []}
        for fields, text in zip(known, texts, strict=True)
    ]
    assert "5 texts, 0 with problems" in ended.err


def test_a_long_document_gets_offsets_into_the_whole(work, ner_eval) -> None:
    document = "\n".join(f"第{n:03}人在云帆科技任经理。" for n in range(100))
    Path("long.txt").write_text(document, encoding="utf-8")
    with Faulty() as server:
        ended = ner_eval(*EXTRACT, "--base-url", server.base_url, "--whole", "--longest", 14, "long.txt")
    [found] = [json.loads(line) for line in ended.out.rstrip("\n").split("\n")]
    assert len(server.asked) == 100 and found["text"] == document and len(found["entities"]) == 100
    assert all(document[e["start"] : e["end"]] == e["text"] for e in found["entities"])
    assert [e["start"] for e in found["entities"]] == [n * 15 for n in range(100)]


def test_longer_texts_than_those_of_the_training_are_asked_sentence_by_sentence(work, ner_eval) -> None:
    spec = PromptSpec.load(Path(PROMPT))
    Path("long.txt").write_text("林晓在云帆科技任经理。" * 60, encoding="utf-8")
    with Faulty() as server:
        ner_eval(*EXTRACT, "--base-url", server.base_url, "--whole", "long.txt")
        assert server.asked == ["林晓在云帆科技任经理。"] * 60
        ner_eval(*EXTRACT, "--base-url", server.base_url, "--whole", "long.txt", "--longest", 50)
        assert set(server.asked[60:]) == {"林晓在云帆科技任经理。" * 4}
        replace(spec, several_sentences=True, longest_text=50).save(Path("several.json"))
        ner_eval(*EXTRACT, "--base-url", server.base_url, "--whole", "long.txt", "--prompt", "several.json")
        assert set(server.asked[75:]) == {"林晓在云帆科技任经理。" * 4}
        Path("long.txt").write_text("林。" * (spec.longest_text // 2), encoding="utf-8")
        ner_eval(*EXTRACT, "--base-url", server.base_url, "--whole", "long.txt")
    assert server.asked[-1] == "林。" * (spec.longest_text // 2)


def test_network_faults_lose_no_text(work, ner_eval) -> None:
    texts = [f"林{n:02}在" for n in range(60)]
    Path("a.txt").write_text("\n".join(texts), encoding="utf-8")

    async def injected(server: Faulty, body: dict) -> web.StreamResponse | None:
        # No text may meet so many faults in a row that it is given up.
        again = server.asked.count(server.asked[-1]) > 5
        return None if again else [drop, failure(500), failure(429), None, None][len(server.asked) % 5]

    with Faulty(injected) as server:
        ended = ner_eval(*EXTRACT, "--base-url", server.base_url, "a.txt", "--concurrency", 8)
    assert ended.code == 0, ended.err
    assert [json.loads(line)["text"] for line in ended.out.rstrip("\n").split("\n")] == texts


@pytest.mark.parametrize(
    ("arguments", "head", "line", "known"),
    [
        ((), "", "{text}\n", {"id": "<stdin>:1"}),
        (("--format", "jsonl"), "", '{{"id": 7, "text": "{text}", "x": [1]}}\n', {"id": 7, "x": [1]}),
        (("--format", "csv", "-"), "n,text\n", '1,"{text}"\n', {"id": "<stdin>:2", "n": "1"}),
    ],
)
def test_standard_input_is_answered_line_by_line(work, start, arguments, head, line, known) -> None:
    with Faulty() as server:
        process = start(*EXTRACT, "--base-url", server.base_url, *arguments, stdin=subprocess.PIPE)
        process.stdin.write(head)
        found = []
        for text in ("林晓在", "王五在"):
            process.stdin.write(line.format(text=text))
            process.stdin.flush()
            found.append(json.loads(process.stdout.readline()))  # before the input ends
            assert found[-1]["text"] == text
        assert found[0] == {**known, "text": "林晓在", "entities": [entity("林晓在", "林晓")], "problems": []}
        process.stdin.close()
        assert process.wait(120) == 0


def test_ctrl_c_ends_a_wait_for_input(work, start) -> None:
    import signal

    with Faulty() as server:
        process = start(*EXTRACT, "--base-url", server.base_url, stdin=subprocess.PIPE)
        process.stdin.write("林晓在\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert "Traceback" not in process.stderr.read()


def test_a_closed_pipe_ends_the_command_quietly(work, start) -> None:
    Path("a.txt").write_text("林晓在\n" * 3000, encoding="utf-8")
    with Faulty(slow(0.001, 0.002)) as server:
        process = start(*EXTRACT, "--base-url", server.base_url, "a.txt")
        process.stdout.readline()
        process.stdout.close()
        process.wait(120)
        assert "Traceback" not in process.stderr.read()
        assert len(server.asked) < 3000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "林晓在"}\n{\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", '{"text": "林晓在"}\n{"text": 5}\n', "a.jsonl:2: has no string 'text'"),
        ("a.csv", "id,text\n1,林晓在\n2\n", "a.csv:3: has more or fewer columns"),
        ("a.csv", "id,body\n1,林晓在\n", "has no column 'text', only id, body"),
        ("a.txt", "林晓在\n".encode() + "王五".encode("gbk"), "a.txt: not UTF-8"),
        ("a.txt", None, "a.txt: no such file"),
    ],
)
def test_bad_input_is_a_one_line_error_after_the_answers_to_good_input(work, ner_eval, name, content, words) -> None:
    if content is not None:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with Faulty(slow(0.05, 0.1)) as server:
        ended = ner_eval(*EXTRACT, "--base-url", server.base_url, name)
    assert ended.code == 2 and len(ended.lines) == 1 and words in ended.lines[0]
    good = content is not None and name != "a.txt" and "body" not in str(content)
    assert ended.out.count("林晓在") == good


def test_without_a_prompt_the_remedy_is_named(work, ner_eval) -> None:
    with Faulty() as server:
        ended = ner_eval("extract", "--model", "nano", "--base-url", server.base_url)
    assert ended.code == 2 and "name it with --prompt, or" in ended.lines[0]


# --- in the terminal --------------------------------------------------------------------------------------------------


def test_entities_are_marked_and_control_characters_harmless() -> None:
    entities = [Entity(0, 2, "name", "林晓"), Entity(0, 1, "other", "林"), Entity(3, 5, "x\x1b", "\x1b[")]
    plain = highlight("林晓在\x1b[0m", entities, ["name", "x\x1b"], False)
    assert plain == "[林晓 name]在[␛[ x␛]0m  + [林 other]"
    coloured = highlight("林晓在\x1b[0m", entities[:1], ["name"], True)
    assert coloured == "\x1b[30;46m林晓\x1b[0m\x1b[2mname\x1b[0m在␛[0m"


@pytest.mark.parametrize("no_colour", [None, "1"])
def test_a_terminal_gets_colours_unless_no_color_is_set(work, start, terminal, monkeypatch, no_colour) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour is not None:
        monkeypatch.setenv("NO_COLOR", no_colour)
    Path("a.txt").write_text("林晓在\n", encoding="utf-8")
    with Faulty() as server:
        process = start(*EXTRACT, "--base-url", server.base_url, "--pretty", "a.txt", stdout=terminal.file)
        shown = terminal.read()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    labels = PromptSpec.load(Path(PROMPT)).labels
    assert shown == highlight("林晓在", [Entity(0, 2, "name", "林晓")], labels, no_colour is None) + "\n"
    assert ("\x1b[" in shown) == (no_colour is None)


def test_pretty_shows_text_and_problems(work, ner_eval) -> None:
    Path("a.txt").write_text("林晓在\n", encoding="utf-8")

    async def odd(server: Faulty, body: dict) -> web.Response:
        return completion('[{"label":"name","text":"林晓"},{"label":"name","text":"谁"}]')

    with Faulty(odd) as server:
        ended = ner_eval(*EXTRACT, "--base-url", server.base_url, "--pretty", "a.txt")
    assert ended.out == "[林晓 name]在\n  ! a.txt:1: not in the text: '谁' (name)\n"


# --- dry run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [(), ("--structured", "json", "--openai-only"), ("--longest", 4), ("--longest", 6, "--context", 3, "--passes", 2)],
)
def test_a_dry_run_prints_curl_commands_that_send_exactly_what_is_sent(work, ner_eval, options) -> None:
    Path("a.txt").write_text("林晓在。王五'$HOME'。\n赵六<|im_end|>在\n", encoding="utf-8")
    Path("b.jsonl").write_text('{"text": "孙七\\ud800在"}\n', encoding="utf-8")
    with Faulty() as server:
        arguments = (*EXTRACT, "--base-url", server.base_url, "--prompt", "data/alpaca/demo.prompt.json", *options)
        shown = ner_eval(*arguments, "--dry-run", "a.txt", "b.jsonl")
        assert not server.bodies
        ner_eval(*arguments, "--concurrency", 1, "a.txt", "b.jsonl")
    assert shown.code == 0 and shown.err == ""
    commands = [shlex.split(line) for line in shown.out.splitlines()]
    assert [json.loads(words[words.index("-d") + 1]) for words in commands] == server.bodies
    url = f"{server.base_url}/chat/completions"
    assert all(words[:5] == ["curl", "-s", url, "-H", "Content-Type: application/json"] for words in commands)


def test_a_dry_run_prints_no_key(work, ner_eval) -> None:
    Path("a.txt").write_text("林晓在\n", encoding="utf-8")
    arguments = (*EXTRACT, "--prompt", "data/alpaca/demo.prompt.json", "--api-key", "secret-key", "--dry-run")
    shown = ner_eval(*arguments, "a.txt")
    assert shown.code == 0 and '"Authorization: Bearer $OPENAI_API_KEY"' in shown.out
    assert "secret-key" not in shown.out


def test_ids_of_strangers_stay_on_one_line(work, ner_eval) -> None:
    Path("a.jsonl").write_text('{"id": "x\\n\\u001b[2J", "text": "林晓在"}\n{"id": "y", "text": "王五在"}\n', "utf-8")

    async def refuse(server: Faulty, body: dict) -> web.StreamResponse | None:
        return failure(400, "no") if server.asked[-1] == "林晓在" else None

    with Faulty(refuse) as server:
        for arguments in ((), ("--pretty",)):
            ended = ner_eval(*EXTRACT, "--base-url", server.base_url, *arguments, "a.jsonl")
            assert ended.code == 1 and "2 texts, 1 with problems, 1 without an answer" in ended.err
            assert "\x1b" not in ended.out + ended.err and len(ended.out.splitlines()) == (3 if arguments else 2)
        lines = ner_eval(*EXTRACT, "--base-url", server.base_url, "a.jsonl").out.splitlines()
        refused, answered = map(json.loads, lines)
    assert refused["entities"] is None and "x\\n\\x1b[2J: HTTP 400: 'no'" in refused["problems"][0]
    assert answered["entities"] == [entity("王五在", "王五")]
