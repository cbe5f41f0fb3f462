"""Answer forms: how entities are written for the model, and how its answer is read back.

Each form is one module of this package, so a new form is a new file. It defines the members of `AnswerForm`; see
`json_list`.
"""

import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ner_common.errors import UserError, rooted
from ner_data.gold import Entity, Parsed

MEMBERS = ("NAME", "DIRECTIVE", "FORMAT", "render", "parse", "structured")


class AnswerForm(Protocol):
    """What a form's module defines.

    Attributes:
        NAME: its file name without ``.py``; stored in prompt specs and given to ``--form``.
        DIRECTIVE: the half-sentence of the instruction that asks for the form: 以 JSON 列表作答.
        FORMAT: the form as the instruction shows it, on one line.

    A module may also define RULES, which then replace `ner_data.prompt.RULES` in the instruction.
    """

    NAME: str
    DIRECTIVE: str
    FORMAT: str

    def render(self, text: str, entities: Sequence[Entity]) -> str:
        """Write the entities of a text (sorted by position) as the answer that a model should give.

        The instruction shows ``render("", ())`` as the answer without entities, so it must not be empty.
        """

    def parse(self, answer: str, text: str) -> Parsed:
        """Read an answer back: ``parse(render(text, entities), text)`` has the same mentions and no problems.

        A form that cannot write every mention leaves some out; `ner_data.alpaca` counts them. A thinking block before
        the answer has been removed. Must not raise, whatever the model wrote. Problems: ``inexact``
        (some mentions could be read), ``bad_item`` (a mention lacks something), ``unparsable`` (none could be read).

        ``written`` of a mention covers what was decided for it: its surface, with the mark that ends this unless the
        mark may also say what comes next, and its label without such a mark.
        """

    def structured(self, mode: str, labels: Sequence[str], text: str) -> dict[str, Any] | None:
        """The request fields that force this form by ``mode`` (json or grammar); None if that mode cannot force it."""


def form_names() -> list[str]:
    """The names of all forms, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def forced_by(
    mode: str, *, grammar: Callable[[], str], schema: Callable[[], dict[str, Any]] | None = None
) -> dict[str, Any] | None:
    """What `structured` of a form returns that has a Lark grammar of each text, and perhaps a JSON schema."""
    if mode == "json" and schema:
        entities = {"name": "entities", "strict": True, "schema": schema()}
        return {"response_format": {"type": "json_schema", "json_schema": entities}}
    return {"structured_outputs": {"grammar": grammar()}} if mode == "grammar" else None


@cache
def load_form(name: str) -> AnswerForm:
    """Load a form by its name.

    Raises:
        UserError: there is no such form, or its module lacks something.
    """
    if name not in form_names():
        raise UserError(f"{name}: no such answer form; known: {', '.join(form_names())}")
    module = import_module(f"{__name__}.{name}")
    file = rooted(Path(str(module.__file__)))
    if missing := [member for member in MEMBERS if not hasattr(module, member)]:
        raise UserError(f"{file}: an answer form also needs {', '.join(missing)}; see AnswerForm in {__name__}")
    if name != module.NAME:
        raise UserError(f"{file}: NAME is {module.NAME!r}; it must be {name!r}, like the file name")
    return cast(AnswerForm, module)
