"""`ner-data alpaca`: the contents of its items, and LLaMA-Factory's registry."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import alpaca
from ner_data.alpaca import COLUMNS, build_spec
from ner_data.corpus import load_corpus
from ner_data.gold import read_gold
from ner_data.prompt import PromptSpec
from ner_data.sentences import has_several
from support import ROOT, Result, one_line_error

Cli = Callable[..., Result]
Make = Callable[..., None]
REGISTRY = Path("data/alpaca/dataset_info.json")
SHIPPED = ROOT / "dataset_info.json"


def test_a_split_without_gold_is_not_trained_on(workplace: Path, shared: Path, cli: Cli) -> None:
    cli("ner-data", "convert", "cluener", "--raw", shared / "data/cluener")
    result = cli("ner-data", "alpaca", "cluener")
    assert "cluener_test.json: read 1345, kept 0, rejected 1345 (no gold 1345)" in result.out
    assert not Path("data/alpaca/cluener_test.json").exists()
    assert sorted(json.loads(REGISTRY.read_text())) == ["cluener_dev", "cluener_train"]


def test_alpaca_items_carry_prompt_and_answer(make_demo: Make) -> None:
    make_demo()
    spec = PromptSpec.load(Path("data/alpaca/demo.prompt.json"))
    gold = list(read_gold(Path("data/gold/demo/train.jsonl")))
    items = json.loads(Path("data/alpaca/demo_train.json").read_text(encoding="utf-8"))
    assert [item["id"] for item in items] == [record.id for record in gold]
    for item, record in zip(items, gold, strict=True):
        system, user = spec.messages(record.text)
        assert item["system"] == system["content"]
        assert f"{item['instruction']}\n{item['input']}" == user["content"]
        assert [(m.label, m.text) for m in spec.parse(item["output"], record.text).mentions] == [
            (entity.label, entity.text) for entity in record.gold
        ]
        assert len(item["output"].encode()) < spec.max_tokens
    assert spec.longest_text == max(len(record.text) for record in gold)


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("林晓在。他走了", True),
        ("“来！”他说。", True),
        ("第一行\n第二行", True),
        ("He left. So did I", True),
        ("真的？！", False),
        ("他说：“走吧。”\n", False),
        ("涨了3.5；跌了2.1……再涨", False),
        ("见example.com", False),
        ("", False),
    ],
)
def test_a_text_is_several_sentences_if_it_goes_on_after_an_end(text: str, several: bool) -> None:
    assert has_several(text) is several


def test_documents_are_cut_as_the_texts_of_the_training_are(workplace: Path, shared: Path, cli: Cli) -> None:
    for corpus, several in (("cluener", True), ("tcm", False)):
        assert cli("ner-data", "convert", corpus, "--raw", shared / "data" / corpus).code == 0
        assert cli("ner-data", "alpaca", corpus).code == 0
        spec = PromptSpec.load(Path(f"data/alpaca/{corpus}.prompt.json"))
        train = list(read_gold(Path(f"data/gold/{corpus}/train.jsonl")))
        assert spec.several_sentences is several
        assert spec == build_spec(load_corpus(corpus), train, "json_list")
        assert ("several_sentences" in spec.as_json()) is several  # as earlier versions wrote it, if it can be


def from_the_root(registry: Path) -> dict[str, dict[str, object]]:
    """The entries of a registry in data/alpaca as people need them who run llamafactory with `dataset_dir: .`."""
    entries = json.loads(registry.read_text())
    return {name: {**entry, "file_name": f"data/alpaca/{entry['file_name']}"} for name, entry in entries.items()}


def test_the_shipped_registry_is_what_the_tool_writes_but_for_the_folder(
    shared: Path, cli: Cli, make_demo: Make
) -> None:
    make_demo()
    for corpus in ("cluener", "tcm"):
        cli("ner-data", "convert", corpus, "--raw", shared / f"data/{corpus}")
        cli("ner-data", "alpaca", corpus)
    expected = json.dumps(from_the_root(REGISTRY), indent=2) + "\n"
    assert SHIPPED.read_bytes() == expected.encode()
    assert REGISTRY.read_bytes().isascii()


def test_the_shipped_registry_has_the_splits_with_gold_of_the_shipped_corpora(make_demo: Make) -> None:
    make_demo()
    shipped = json.loads(SHIPPED.read_text())
    demo = from_the_root(REGISTRY)
    assert {name: entry for name, entry in shipped.items() if name.startswith("demo_")} == demo
    corpora = [load_corpus(path.stem) for path in (ROOT / "data/corpora").glob("*.yaml")]
    assert set(shipped) == {f"{c.name}_{split}" for c in corpora for split in c.splits if c.splits[split].gold}
    assert all(
        entry == {"file_name": f"data/alpaca/{name}.json", "columns": COLUMNS} for name, entry in shipped.items()
    )


def test_no_program_writes_the_shipped_registry(make_demo: Make) -> None:
    Path("dataset_info.json").write_bytes(SHIPPED.read_bytes())
    make_demo()
    assert Path("dataset_info.json").read_bytes() == SHIPPED.read_bytes()
    assert {json.loads(REGISTRY.read_text())[f"demo_{split}"]["file_name"] for split in ("train", "dev", "test")} == {
        "demo_train.json",
        "demo_dev.json",
        "demo_test.json",
    }


def test_other_datasets_in_the_registry_are_kept(make_demo: Make) -> None:
    REGISTRY.parent.mkdir()
    REGISTRY.write_text('{"mine": {"file_name": "mine.json"}}')
    make_demo()
    assert json.loads(REGISTRY.read_text())["mine"] == {"file_name": "mine.json"}


def test_alpaca_before_convert_says_what_to_run(workplace: Path, cli: Cli) -> None:
    assert "no such file; run `make data CORPUS=demo`" in one_line_error(cli("ner-data", "alpaca", "demo"))


@pytest.mark.parametrize("content", ['{"a": {', "[]", '{"a": 1}', ""])
def test_a_broken_registry_is_refused_and_left_alone(cli: Cli, make_demo: Make, content: str) -> None:
    make_demo("fetch", "convert")
    REGISTRY.parent.mkdir()
    REGISTRY.write_text(content)
    message = one_line_error(cli("ner-data", "alpaca", "demo"))
    assert "data/alpaca/dataset_info.json" in message and "remove it and run `make data` for each corpus" in message
    assert REGISTRY.read_text() == content
    assert [path.name for path in REGISTRY.parent.iterdir()] == [REGISTRY.name]


def test_duplicate_ids_in_gold_are_refused(cli: Cli, make_demo: Make) -> None:
    make_demo("fetch", "convert")
    path = Path("data/gold/demo/train.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0]]), encoding="utf-8")
    assert "train.jsonl:2001: duplicate id demo-train-1" in one_line_error(cli("ner-data", "alpaca", "demo"))
    assert not Path("data/alpaca").exists()


def test_the_function_returns_the_prompt_spec_and_the_files(make_demo: Make) -> None:
    make_demo("fetch", "convert")
    spec, files = alpaca("demo")
    assert spec == PromptSpec.load(Path("data/alpaca/demo.prompt.json"))
    assert {split: (file.path.name, file.read, file.kept) for split, file in files.items()} == {
        "train": ("demo_train.json", 2000, 2000),
        "dev": ("demo_dev.json", 200, 200),
        "test": ("demo_test.json", 200, 200),
    }


def test_gold_with_a_label_that_the_description_has_lost_is_refused(cli: Cli, make_demo: Make) -> None:
    make_demo("fetch", "convert")
    path = Path("data/corpora/demo.yaml")
    path.write_text(path.read_text("utf-8").replace("  movie:", "  film:"), "utf-8")
    message = one_line_error(cli("ner-data", "alpaca", "demo"))
    problem = "has labels that data/corpora/demo.yaml lacks (movie); run `make data CORPUS=demo`"
    assert message == f"ner-data: data/gold/demo/train.jsonl: {problem}"
    assert not Path("data/alpaca").exists()
