"""A plugin of the stock `llamafactory-cli`: adds finetuning types (`methods`) and records how adapters were trained.

Nothing happens unless AUTOWRAPT_BOOTSTRAP=llamafactory_ner is set: then autowrapt calls the hooks that
pyproject.toml lists under [project.entry-points."llamafactory_ner"], each right after the import of the module that it
is named after.
Every Python process started with the variable loads these modules, so none of them imports anything heavy at its top.
"""

TESTED_LLAMAFACTORY = ("0.9.5",)
