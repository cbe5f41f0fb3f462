"""`ner-data check --tokenizer`: lengths in tokens, with a real tokenizer of one token per character."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ner_data import PromptSpec, alpaca, read_gold
from ner_data.checking import check
from support import Result, one_line_error

pytestmark = pytest.mark.train  # which has the package tokenizers
Gold = Callable[..., Path]


@pytest.fixture
def model(workplace: Path) -> Path:
    """A folder with such a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    Path("model").mkdir()
    tokenizer.save("model/tokenizer.json")
    return Path("model")


def test_tokens_and_cutoff(gold: Gold, model: Path) -> None:
    gold(train=["[a:abcde]", "[a:abcdefgh]", "[a:ab]"], dev=["[b:abcdef]"])
    report = check("tiny", tokenizer=model, cutoff=5)
    assert report.tokens_of == "text alone"
    assert report.splits["train"].tokens == {5: 1, 8: 1, 2: 1}
    assert [(one.over, one.records) for one in report.splits.values()] == [(1, 3), (1, 1)]
    long = [(one.what, one.detail, one.places[0].source) for one in report.found["long"].findings]
    assert long == [("abcdefgh", "8 tokens", "train.raw:2"), ("abcdef", "6 tokens", "dev.raw:1")]
    assert report.found["long"].figures == {"train": 1, "dev": 1}
    assert check("tiny", tokenizer=model).found["long"].skipped == "needs --cutoff N"


def test_with_the_corpus_prompt_each_record_has_instruction_text_and_answer(gold: Gold, model: Path) -> None:
    folder = gold(train=["[a:林晓]来了", "[a:周明]与[b:北京]"])
    spec: PromptSpec = alpaca("tiny")[0]
    wanted = [
        len(spec.system) + len(spec.user_text(record.text)) + len(spec.render(record))
        for record in read_gold(folder / "train.jsonl")
    ]
    assert sorted(check("tiny", tokenizer=model).splits["train"].tokens.elements()) == sorted(wanted)


def test_a_damaged_tokenizer_is_refused(gold: Gold, cli: Callable[..., Result]) -> None:
    gold(train=["[a:林晓]来了"])
    Path("broken").mkdir()
    Path("broken/tokenizer.json").write_text("{}", "utf-8")
    message = one_line_error(cli("ner-data", "check", "tiny", "--tokenizer", "broken"))
    assert message.startswith("ner-data: broken/tokenizer.json: not a tokenizer (")


def test_without_rensa_near_duplicates_are_not_searched_and_that_is_said(
    gold: Gold, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ner_data.checking.find_spec", lambda name: None)
    gold(train=["[a:林晓]来了"])
    result = cli("ner-data", "check", "tiny")
    assert result.code == 0
    assert "not looked for: near-duplicates (needs the package rensa, which .venv has)\n" in result.out
    message = one_line_error(cli("ner-data", "check", "tiny", "--near"))
    assert "--near needs the package rensa" in message
