"""Answer forms: how entities are written for the model, and how its answer is read back.

Each form is a module with a neighbouring pair, ``render(text, entities) -> str`` and
``parse(answer, text) -> Parsed``, and the constants ``NAME`` and ``FORMAT`` (the form as the prompt describes it).
"""

from types import ModuleType

from ner_data.answers import json_list

FORMS: dict[str, ModuleType] = {json_list.NAME: json_list}
