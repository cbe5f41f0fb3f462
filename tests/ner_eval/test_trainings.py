"""How many records a training used, against LLaMA-Factory's own division of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ner_eval.trainings import records_trained


@pytest.mark.train
@pytest.mark.parametrize("share", [0.1, 0.25, 3, 0.0])
def test_the_count_is_that_of_the_host(tmp_path: Path, share: float) -> None:
    from datasets import Dataset
    from llamafactory.data.data_utils import split_dataset

    (tmp_path / "dataset_info.json").write_text('{"demo_train": {"file_name": "demo_train.json"}}')
    sizes = [5, 10, 11, 19, 20, 21, 99, 1000, 1001]
    for size in sizes:
        (tmp_path / "demo_train.json").write_text(json.dumps([{}] * size))
        data_args = SimpleNamespace(val_size=share, streaming=False, max_samples=None, eval_dataset=None)
        loaded = Dataset.from_dict({"x": range(size)})
        host, _ = split_dataset(loaded, None, data_args, seed=42)
        counted = records_trained({"dataset_dir": str(tmp_path), "dataset": "demo_train", "val_size": share})
        assert counted == len(host["train"]), size
    assert len(sizes) == 9
