"""What strangers wrote does not act on the terminal; programs say their version."""

import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable

import pytest
from tqdm import tqdm

from ner_common import __version__
from ner_common.commands import Terminal, safe_terminal
from ner_common.errors import printable
from support import ROOT, Result

HOSTILE = "a\x1b]0;title\x07\x1b[2Jb\r\x9b31m\u202etxt\u2028\ud83d\x7f"


def test_hostile_text_is_shown_and_json_stays_json():
    stream = io.StringIO()
    Terminal(stream).write(json.dumps({"text": HOSTILE}, ensure_ascii=False) + "\n")
    written = stream.getvalue()
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in written[:-1])
    assert "\u202e" not in written
    assert json.loads(written) == {"text": HOSTILE}


def test_newline_and_tab_and_chinese_stay():
    assert printable("林晓\tx\n👨‍👩‍👧") == "林晓\tx\n👨‍👩‍👧"


def test_progress_bars_and_colours_pass_and_nothing_else():
    stream = io.StringIO()
    with safe_terminal():
        sys.stdout = Terminal(stream)
        for _ in tqdm(range(2), file=sys.stdout, ascii=True, ncols=40):
            pass
        print("\x1b[97;41m红\x1b[0m \x1b[8mhidden \x1b[A\rover")
    assert stream.getvalue().count("\r") >= 2
    assert stream.getvalue().endswith("\x1b[97;41m红\x1b[0m \\u001b[8mhidden \\u001b[A\\u000dover\n")
    assert not isinstance(sys.stdout, Terminal)


@pytest.mark.parametrize("program", ["ner-data", "ner-model", "ner-eval"])
def test_a_program_says_its_version_which_the_changelog_describes_first(
    program: str, cli: Callable[..., Result]
) -> None:
    assert cli(program, "--version") == Result(0, f"{program} {__version__}\n", "")
    versions = re.findall(r"^## ([\d.]+) ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == __version__
