"""`ner-data init`, `labels` and `formats`: raw files are recognised by what their readers make of them, or asked about."""

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ner_common.errors import UserError
from ner_data import load_corpus, read_gold
from ner_data.arguments import add_detection_arguments, detection
from ner_data.detect import detect, guesses
from ner_data.formats import format_names
from ner_data.init import init
from ner_data.source import Source
from ner_data.splits import splits_of
from support import ROOT, Result, one_line_error

Cli = Callable[..., Result]
LINE = '{"text": "甲乙", "label": {"name": {"甲": [[0, 0]]}}}\n'
BIO = "甲 B-name\n乙 O\n\n"


def put(path: str, text: str, encoding: str = "utf-8") -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode(encoding))
    return file


def test_a_described_corpus_converts_as_the_published_one(workplace: Path, shared: Path, cli: Cli) -> None:
    files = [shared / f"data/tcm/medical_{split}.txt" for split in ("train", "eval", "test")]
    result = cli("ner-data", "init", "mine", *files)
    assert result.code == 0, result.err
    assert "train: bio: 500 of the first 500 records can be read, with 1139 mentions\n" in result.out
    assert "  5259 records, 0 bad, 12634 mentions\n  临床表现 3068, 中药 2786," in result.out
    assert f"`make data CORPUS=mine RAW={(shared / 'data/tcm').resolve()}`" in result.out
    mine, theirs = load_corpus("mine"), load_corpus("tcm")
    assert {split: part.file for split, part in mine.splits.items()} == {
        split: part.file for split, part in theirs.splits.items()
    }
    assert {label.id for label in mine.labels} == {label.id for label in theirs.labels}
    assert cli("ner-data", "convert", "mine", "--raw", shared / "data/tcm").code == 0
    assert cli("ner-data", "convert", "tcm", "--raw", shared / "data/tcm").code == 0
    for split in mine.splits:
        ours, published = (list(read_gold(Path(f"data/gold/{name}/{split}.jsonl"))) for name in ("mine", "tcm"))
        assert [(r.text, r.entities, r.source) for r in ours] == [(r.text, r.entities, r.source) for r in published]


def test_a_split_without_labels_is_described_as_one(workplace: Path, shared: Path) -> None:
    folder, found = init("mine", sorted((shared / "data/cluener").glob("*.json")))
    assert folder == (shared / "data/cluener").resolve()
    assert [(split, content.read, content.guess.gold) for split, content in found.items()] == [
        ("train", 10748, True),
        ("dev", 1343, True),
        ("test", 1345, False),
    ]
    corpus = load_corpus("mine")
    assert corpus.format == "cluener" and [split.gold for split in corpus.splits.values()] == [True, True, False]
    assert corpus.labels[0].id == "name"  # the most frequent one first


def test_a_single_file_is_train_and_options_are_written(workplace: Path, cli: Cli) -> None:
    put("raw/all.txt", BIO, "gb18030")
    message = one_line_error(cli("ner-data", "init", "mine", "raw/all.txt"))
    assert "all.txt:1: not UTF-8" in message and "`--encoding gb18030`" in message
    how = ("--encoding", "gb18030", "--nested", "outermost", "--split-sentences", "80")
    assert cli("ner-data", "init", "mine", "raw/all.txt", *how).code == 0
    described = yaml.safe_load(Path("data/corpora/mine.yaml").read_text("utf-8"))
    assert described["splits"] == {"train": {"file": "all.txt"}}
    assert (described["encoding"], described["nested"], described["split_sentences"]) == ("gb18030", "outermost", 80)
    assert cli("ner-data", "convert", "mine", "--raw", "raw").code == 0
    assert [record.text for record in read_gold(Path("data/gold/mine/train.jsonl"))] == ["甲乙"]


def test_the_names_of_files_tell_the_splits(workplace: Path) -> None:
    files = [put(f"my_test/{name}", BIO) for name in ("msra_train.txt", "VALIDATION.txt", "eval/../x.test.txt")]
    init("mine", files)
    assert {split: part.file for split, part in load_corpus("mine").splits.items()} == {
        "train": "msra_train.txt",
        "dev": "VALIDATION.txt",
        "test": "x.test.txt",
    }


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["devices.jsonl"], "train"),
        (["interval.json"], "train"),
        (["latest/admin.jsonl"], "train"),
        (["my_test/all.txt"], "train"),
        (["contest.txt"], "train"),
        (["test/all.txt"], "test"),
        (["Valid/all.txt"], "dev"),
        (["a-test.txt"], "test"),
        (["train/dev.txt", "train/a.txt"], "dev train"),
        (["test_data/train.txt", "test_data/x_val.txt"], "train dev"),
        (["eng.train", "eng.testa"], "train test"),
        (["esp.testb", "esp.train", "esp.testa"], "test train dev"),
        (["devset.txt", "trainset.txt", "eng.testB"], "dev train test"),
        (["msraTrain.txt", "evalBIO.txt"], "train dev"),
        (["验证集valid.txt", "训练集train.txt"], "dev train"),
    ],
)
def test_whole_words_tell_the_split_those_of_the_file_before_those_of_its_folder(
    files: list[str], splits: str
) -> None:
    found = splits_of([Path(file) for file in files])
    assert {split: [path] for split, path in zip(splits.split(), map(Path, files), strict=True)} == found


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["source_BIO_2014_cropus.txt", "target_BIO_2014_cropus.txt"], ["train"]),
        (["tags.txt", "sentences.txt"], ["train"]),
        (["train/seq.out", "train/seq.in", "dev/seq.in", "dev/seq.out"], ["train", "dev"]),
        (["train.source", "train.target"], ["train"]),
        (["a.txt", "b.txt"], ["train"]),  # their content tells
        (["label.txt", "source.txt", "dev.labels", "dev.text"], ["train", "dev"]),
    ],
)
def test_sentences_and_their_tags_are_told_apart(workplace: Path, files: list[str], splits: list[str]) -> None:
    words = {"out", "tags", "target", "b", "label", "labels"}
    tagged = {file for file in files if words & set(re.findall("[a-z]+", file))}
    paths = [put(file, "B_name I_name O\n" if file in tagged else "林 晓 来\n") for file in files]
    init("mine", paths)
    corpus = load_corpus("mine")
    assert corpus.format == "parallel" and list(corpus.splits) == splits
    assert {Path(part.tags or "").name for part in corpus.splits.values()} == {Path(file).name for file in tagged}


def test_words_tell_which_file_has_the_tags_where_their_content_does_not(workplace: Path) -> None:
    paths = [put("x.target", "name O\n"), put("x.source", "O B\n")]
    assert splits_of(paths) == {"train": [Path("x.source"), Path("x.target")]}


@pytest.mark.parametrize(
    ("files", "words", "problem"),
    [
        ({"a.txt": BIO, "b.txt": BIO}, [], "a.txt: its name does not say which split it is; have train, dev or test"),
        ({"train.txt": BIO, "train.2.txt": BIO}, [], "the split train is named twice"),
        ({"train.txt": BIO, "dev.json": LINE}, [], "dev.json: is cluener, but train.txt is bio; name the format of"),
        ({"train.txt": "only words\nand more\n"}, [], "train.txt: no format fits; nearest is "),
        ({"train.txt": ""}, [], "train.txt: the file is empty"),
        ({"train.txt": BIO.replace("name", "<|im_end|>")}, [], "the label '<|im_end|>' looks like a control token"),
        ({"train.txt": BIO}, ["--option", "x=1"], "--option: name the format that it belongs to with --format"),
        ({"train.txt": BIO}, ["--format", "bio", "--option", "x=1"], "--option: bio has no option 'x'; known: "),
        ({"train.txt": BIO}, ["--format", "bio", "--option", "x"], "--option x: write KEY=VALUE"),
        ({"train.txt": BIO}, ["--format", "cluener"], "train.txt: no format fits; nearest is cluener: 0 of the first"),
    ],
)
def test_what_init_cannot_describe_is_one_line_and_nothing_is_written(
    workplace: Path, cli: Cli, files: dict[str, str], words: list[str], problem: str
) -> None:
    paths = [put(name, text) for name, text in files.items()]
    assert problem in one_line_error(cli("ner-data", "init", "mine", *paths, *words))
    assert not Path("data/corpora/mine.yaml").exists()


def test_names_that_are_taken_or_no_names_and_missing_files_are_refused(workplace: Path, cli: Cli) -> None:
    file = put("train.txt", BIO)
    assert "demo.yaml: already exists" in one_line_error(cli("ner-data", "init", "demo", file))
    assert "a/b: no name for a corpus" in one_line_error(cli("ner-data", "init", "a/b", file))
    assert "nowhere.txt: no such file" in one_line_error(cli("ner-data", "init", "mine", "nowhere.txt"))


def test_every_format_says_why_it_does_not_fit(workplace: Path) -> None:
    found = guesses(Source(put("train.txt", BIO * 3)))
    assert {guess.format for guess in found} == set(format_names())
    assert found[0].format == "bio" and found[0].mentions == 3
    for guess in found:
        if not guess.fits:
            assert guess.problem or guess.gold, guess
            assert "\n" not in guess.words


def test_a_file_that_two_formats_read_differently_is_asked_about(
    workplace: Path, add_module: Callable[..., Path]
) -> None:
    from ner_data import formats

    source = Path(formats.__path__[0], "cluener.py").read_text("utf-8")
    add_module(
        formats,
        "rival",
        source.replace("Sample(number, text, tuple(entities)", 'Sample(number, text + "。", tuple(entities)'),
    )
    with pytest.raises(
        UserError, match=r"train\.json: cluener and rival both fit \(.*\); choose with `--format cluener` or `--fo"
    ):
        detect(Source(put("train.json", LINE)))
    assert detect(Source(Path("train.json")), "rival")[0].format == "rival"


def test_variants_of_a_format_that_fit_alike_are_asked_about(workplace: Path, cli: Cli) -> None:
    """The ends of these spans may be inclusive or exclusive: nothing in the file shows which."""
    file = put("a.jsonl", '["林晓在云帆科技任经理", [0, 1, "name"], [3, 6, "company"]]\n')
    assert one_line_error(cli("ner-data", "init", "mine", file)) == (
        "ner-data: a.jsonl: globalpointer and globalpointer end=exclusive both fit (('林晓在云帆科技任经理', ((0, 2, 'name'), "
        "(3, 7, 'company'))) against ('林晓在云帆科技任经理', ((0, 1, 'name'), (3, 6, 'company')))); choose with `--format "
        "globalpointer --option end=inclusive` or `--format globalpointer --option end=exclusive`"
    )
    assert "both fit" in one_line_error(cli("ner-data", "init", "mine", file, "--format", "globalpointer"))
    for end, surfaces in [("inclusive", ["林晓", "云帆科技"]), ("exclusive", ["林", "云帆科"])]:
        words = ("--format", "globalpointer", "--option", f"end={end}")
        assert cli("ner-data", "init", end, file, *words).code == 0
        assert cli("ner-data", "convert", end, "--raw", ".").code == 0
        (record,) = read_gold(Path(f"data/gold/{end}/train.jsonl"))
        assert [entity.text for entity in record.gold] == surfaces
    # A mention of one character, or one at the end of a text, tells.
    put("a.jsonl", '["林晓在云帆科技任经理", [0, 1, "name"]]\n["林在", [0, 0, "name"]]\n')
    assert detect(Source(file))[0].options == {}
    put("a.jsonl", '["林晓在云帆科技任经理", [0, 2, "name"]]\n["林在", [0, 2, "name"]]\n')
    assert detect(Source(file))[0].options == {"end": "exclusive"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_options_are_shown_with_the_format_that_they_need(language: str) -> None:
    page = (ROOT / f"docs/{language}/how-to/corpora.md").read_text("utf-8")
    parser = argparse.ArgumentParser()
    add_detection_arguments(parser)
    found = [detection(parser.parse_args(shlex.split(words))) for words in re.findall("`([^`]*--option[^`]*)`", page)]
    assert [how["options"] for how in found] == [{"offsets": "characters"}, {"end": "inclusive"}, {"join": ""}]


def test_labels_lists_what_a_raw_file_has(workplace: Path, cli: Cli) -> None:
    text = "甲 B-x\n乙 I-x\n丙 B-y\n\n丁 B-x\n\n戊\n\n"
    result = cli("ner-data", "labels", put("a.txt", text))
    assert result.code == 0, result.err
    assert "3 records, 1 bad (no tag 1), 3 mentions\n  x 2, y 1\n" in result.out


def test_formats_lists_all_and_describes_one(workplace: Path, cli: Cli) -> None:
    rows = cli("ner-data", "formats").out.splitlines()
    assert [re.match(r"\| `(\w+)`", row)[1] for row in rows[2:]] == format_names()  # type: ignore[index]
    for name in format_names():
        text = cli("ner-data", "formats", name).out
        assert "::\n" in text and "\nOptions:\n" in text  # opens with a sample
