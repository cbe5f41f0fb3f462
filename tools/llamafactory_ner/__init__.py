"""A plugin for the stock `llamafactory-cli`: adds finetuning types (`methods`) and records how adapters are trained.

Nothing happens unless AUTOWRAPT_BOOTSTRAP=llamafactory_ner is set: then autowrapt calls the hooks that
pyproject.toml lists under [project.entry-points."llamafactory_ner"], each right after the module it is named after has
been imported.
Every Python process started with the variable loads these modules, so none of them has heavy imports at module level.
"""

TESTED_LLAMAFACTORY = ("0.9.5",)
