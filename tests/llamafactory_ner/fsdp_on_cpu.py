"""A process of a training by llamafactory with FSDP on a CPU: torch can do that, accelerate expects an accelerator.

Run by torchrun with the arguments of ``llamafactory-cli train``.
"""

from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from llamafactory.train.tuner import run_exp

initialise = AcceleratorState.__init__


def sharded(self: Any, *args: Any, **given: Any) -> None:
    initialise(self, *args, **given)
    if plugin := given.get("fsdp_plugin") or vars(self).get("fsdp_plugin"):  # all states are one
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin


AcceleratorState.__init__ = sharded
run_exp()
