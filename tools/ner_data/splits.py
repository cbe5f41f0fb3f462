"""Which split each raw file of a new corpus is, and which of two files has the tags of the other."""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ner_common.errors import UserError, rooted
from ner_data.corpus import SPLITS
from ner_data.formats._schemes import split_tag
from ner_data.source import Source

SURVEYED = 1000  # lines that tell whether a file has only tags
_SPLITS = {
    "train": "train(?:ing|set)?",
    "dev": "(?:dev|val|valid|validation|eval|evaluation)(?:set)?",
    "test": "test(?:ing|set|a|b)?",
}
_ROLES = {"tags": "tags?|labels?|targets?|tgt|out", "sentences": "sources?|src|in|sentences?|texts?"}


def _words(known: dict[str, str]) -> re.Pattern[str]:
    """Whole words only, or ``devices`` were dev: between what is no letter, or where small letters meet a capital."""
    start, end = "(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))", "(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
    return re.compile(
        start + "(?:" + "|".join(f"(?P<{name}>(?i:{words}))" for name, words in known.items()) + ")" + end
    )


_TEST = re.compile("(?i)(?<![a-z])test([ab])(?![a-z])")
_SPLIT, _ROLE = _words(_SPLITS), _words(_ROLES)


def splits_of(files: Sequence[Path], encoding: str = "utf-8") -> dict[str, list[Path]]:
    """The files of each split, in the order of `SPLITS`: one, or the sentences and their tags.

    A word in a file's own name tells, the last one; otherwise one in the name of its folder, which for a single file
    must be that word. Without such words a single file, and two of which one has the tags of the other, are train.
    ``testa`` beside ``testb`` is dev, as in CoNLL-2002 and 2003, unless another file is.

    Raises:
        UserError: the name of one of several files does not say which split it is; or a split is named twice.
    """
    named = {path: _named(path, len(files) == 1) for path in files}
    tests = {path: match[1].lower() for path in files if (match := _TEST.search(path.name))}
    if {*tests.values()} == {"a", "b"} and "dev" not in named.values():
        named |= {path: "dev" for path, letter in tests.items() if letter == "a"}
    nameless = [path for path in files if not named[path]]
    if len(files) > 1 and nameless and not (len(nameless) == 2 and _pair(nameless, encoding)):
        problem = "its name does not say which split it is; have train, dev or test in it"
        raise UserError(f"{rooted(nameless[0])}: {problem}")
    found: dict[str, list[Path]] = {}
    for path in files:
        split = named[path] or "train"
        paths = found.setdefault(split, [])
        if path in paths or len(paths) == 2:
            raise UserError(f"{rooted(path)}: the split {split} is named twice")
        paths.append(path)
    for split, paths in found.items():
        if len(paths) == 2:
            if not (pair := _pair(paths, encoding)):
                first, second = map(rooted, paths)
                raise UserError(f"{second}: the split {split} is named twice, first by {first}")
            found[split] = pair
    return {split: found[split] for split in SPLITS if split in found}


def _named(path: Path, alone: bool) -> str:
    """The split that the name of a file, or of its folder, tells; "" if none does."""
    parent = path.parent.name
    own, above = ([match.lastgroup or "" for match in _SPLIT.finditer(name)] for name in (path.name, parent))
    if own:
        return own[-1]
    return above[-1] if above and (not alone or _SPLIT.fullmatch(parent)) else ""


def _pair(paths: Sequence[Path], encoding: str) -> list[Path] | None:
    """Two files, the one with the tags last; None if neither their content nor their names tell which it is."""
    tagged = [_has_only_tags(Source(path, encoding)) for path in paths]
    if tagged[0] != tagged[1]:
        return sorted(paths, key=lambda path: tagged[paths.index(path)])
    roles = [{match.lastgroup for match in _ROLE.finditer(path.name)} for path in paths]
    for first, second in ((0, 1), (1, 0)):
        if "tags" in roles[second] and "tags" not in roles[first]:
            return [paths[first], paths[second]]
    return None


def _has_only_tags(source: Source) -> bool:
    """Whether the first lines of a file have nothing but tags; one that cannot be read has not."""
    try:
        parts = [part for _, line in islice(source.lines(), SURVEYED) for part in line.split()]
    except UserError:
        return False
    return bool(parts) and all(split_tag(part)[0] for part in parts)
