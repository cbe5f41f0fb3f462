"""The description of a base model: ``recipes/<name>/model.yaml``.

::

    weights: models/qwen2-7b            # the folder that recipes train and servers load
    needs_gpu: true
    template: qwen
    dtype: auto
    source: Qwen/Qwen2-7B-Instruct      # on ModelScope; omitted if there is nothing to download
    revision: master
    huggingface: Qwen/Qwen2-7B-Instruct@f2826a00ceef68f0f2b946d945ecc0477ce4450c
    gigabytes: 15.3
    sha256:
      model-00001-of-00004.safetensors: 26d9919262ccd063fcdfd926763fe9025ef1e3073767aaa8c83a375d7c5140c4
    shape: {model_type: qwen2, hidden_size: 3584, …}

make reads ``weights`` and ``needs_gpu`` from the same file with sed, before any environment exists.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ner_common.errors import UserError, one_line
from ner_common.files import read_text, read_yaml

RECIPES = Path("recipes")
MODELS = Path("models")
FILE_NAME = "model.yaml"
SMALL_BYTES = 10**8
MOST_GIGABYTES = 1e5
SHA256 = re.compile(r"[0-9a-f]{64}")
# Key -> its type, and in words what it must be.
KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "weights": (str, "the folder with the weights"),
    "needs_gpu": (bool, "true or false"),
    "template": (str, "the name of a LLaMA-Factory template"),
    "dtype": (str, "a number format of vLLM"),
    "source": (str, "a model on ModelScope"),
    "revision": (str, "a branch or tag"),
    "huggingface": (str, "a model on Hugging Face, NAME or NAME@COMMIT"),
    "gigabytes": ((int, float), "a size in GB"),
    "sha256": (dict, "a mapping from file names to checksums"),
    "after_download": (str, "a step after the download"),
    "shape": (dict, "a mapping from names of config.json to sizes"),
}
REQUIRED = ("weights", "needs_gpu", "template")
OF_A_SOURCE = ("revision", "huggingface", "gigabytes", "sha256", "after_download")


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model as described by its ``model.yaml``.

    Attributes:
        name: the folder's name, MODEL of the Makefile.
        weights: the folder that recipes train and servers load.
        needs_gpu: whether training without a GPU is refused.
        template: LLaMA-Factory's name of the chat template.
        dtype: number format on a GPU, as vLLM's ``--dtype``.
        source: id on ModelScope; None if there is nothing to download.
        revision: branch or tag of ``source``.
        gigabytes: size of the download in 10^9 bytes.
        sha256: file name -> checksum (64 hex digits) of the files whose content is known.
        after_download: the `ner-model` command that turns the download into ``weights``; None if they are the same.
        huggingface: the same model on Hugging Face, id and commit; None: it has the same id there, newest commit.
        shape: its sizes by the names of config.json, for `ner-model plan` before the download.
    """

    name: str
    weights: Path
    needs_gpu: bool
    template: str
    dtype: str = "auto"
    source: str | None = None
    revision: str = "master"
    gigabytes: float = 0.0
    sha256: Mapping[str, str] = field(default_factory=dict)
    after_download: str | None = None
    huggingface: str | None = None
    shape: Mapping[str, Any] | None = None

    @property
    def on_huggingface(self) -> tuple[str, str]:
        """The model's id on Hugging Face, and its commit or branch."""
        name, _, revision = (self.huggingface or self.source or "").partition("@")
        return name, revision or "main"

    @property
    def downloaded(self) -> Path:
        """The folder where the download is stored."""
        return MODELS / self.name


def model_names() -> list[str]:
    """The names of all base models, sorted."""
    return sorted(path.parent.name for path in RECIPES.glob(f"*/{FILE_NAME}"))


def load_base_model(name: str) -> BaseModel:
    """Read ``recipes/<name>/model.yaml``.

    Raises:
        UserError: there is no such model, or its file is not as described above; the message names the key.
    """
    path = RECIPES / name / FILE_NAME
    if name not in model_names():
        known = ", ".join(model_names()) or "none; run this in the repository's folder"
        raise UserError(f"{path}: no such base model; known: {known}")
    value = _mapping(path)
    _check_keys(path, value)
    model = BaseModel(name, Path(value.pop("weights")), **value)
    if model.source and not model.after_download and model.weights != model.downloaded:
        problem = f"weights: {model.weights} is not {model.downloaded}, where the download is stored"
        raise UserError(f"{path}: {problem}; correct it, or set after_download to the command that makes it")
    return model


def base_model_of(weights: Path) -> BaseModel | None:
    """The base model whose weights are in this folder; None if no ``model.yaml`` names it."""
    for name in model_names():
        # Only the matching file is checked: a broken one must not keep other models from being served.
        with suppress(UserError):
            text = read_text(RECIPES / name / FILE_NAME, "restore it")
            named = re.search(r"^weights:\s*[\"']?([^\s\"'\0]+)", text, re.MULTILINE)
            if not named or Path(named[1]).resolve() != weights.resolve():
                continue
            found = name
            break
    else:
        return None
    return load_base_model(found)


def is_small(weights: Path) -> bool:
    """Whether a folder's weights take less than `SMALL_BYTES`: such a model gains nothing from bfloat16 on a CPU."""
    return sum(path.stat().st_size for path in weights.glob("*.safetensors")) < SMALL_BYTES


def _mapping(path: Path) -> dict[str, Any]:
    value = read_yaml(path, "correct the line")
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a mapping of keys to values; see {RECIPES}/*/{FILE_NAME}")
    return value


def _is_line(given: Any) -> bool:
    return not isinstance(given, str) or (given.isprintable() and len(given) < 1024)


def _check_keys(path: Path, value: dict[str, Any]) -> None:
    for key, given in value.items():
        if key not in KEYS:
            problem = f"{one_line(key).strip(chr(39))}: no such key"
            raise UserError(f"{path}: {problem}; remove it, or correct it to one of {', '.join(KEYS)}")
        wanted, meaning = KEYS[key]
        wrong = not isinstance(given, wanted) or (wanted is not bool and isinstance(given, bool)) or given == ""
        if wrong or (isinstance(given, int | float) and not 0 <= given < MOST_GIGABYTES) or not _is_line(given):
            raise UserError(f"{path}: {key}: {one_line(given)} is not {meaning}; correct it")
    needed = [*REQUIRED, *(("gigabytes", "sha256") if "source" in value else ())]
    for key in needed:
        if key not in value:
            raise UserError(f"{path}: {key} is missing; add {KEYS[key][1]}")
    for key in OF_A_SOURCE:
        if key in value and "source" not in value:
            raise UserError(f"{path}: {key}: nothing is downloaded without source; add {KEYS['source'][1]}")
    for name, digest in value.get("sha256", {}).items():
        if not SHA256.fullmatch(str(digest)) or Path(str(name)).name != name:
            raise UserError(
                f"{path}: sha256: {one_line(name)} needs 64 hex digits, not {one_line(digest)}; correct it"
            )
