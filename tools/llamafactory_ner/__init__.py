"""Adds the finetuning types `p_tuning` and `prefix_tuning` to the stock `llamafactory-cli`.

Nothing happens unless AUTOWRAPT_BOOTSTRAP=llamafactory_ner is set: then autowrapt calls the hooks that pyproject.toml
lists under [project.entry-points."llamafactory_ner"], each right after the module it is named after has been imported.
Every Python process started with the variable loads these modules, so none of them imports anything heavy at its top.
"""

TESTED_LLAMAFACTORY = ("0.9.5",)
