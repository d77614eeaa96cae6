"""Training in one process, or in several that torchrun starts:

    torchrun --nproc-per-node N -m lumina_core train RECIPE

Every process holds a shard of each weight and of AdamW's moments (``fully_shard`` of torch, known as FSDP2) and takes
its share of each batch; the gradients are those of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..errors import LuminaError
from ..runtime.devices import AUTO, pick_device
from .batches import TaskSpec


@dataclass(frozen=True)
class DistContext:
    """The processes of a run.

    Args:
        rank: of this process, 0 to size - 1.
        size: number of processes.
        device: of this process; None for that of the recipe.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the process that writes files and prints."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Positions of a batch of ``count`` samples that this process takes."""
        return range(self.rank, count, self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """``values``, on the CPU, summed over the processes. All processes must call it."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.cpu()

    def check_batches(self, tasks: Iterable[TaskSpec]) -> None:
        """Check that the batch size of every task is a multiple of the number of processes. Raises LuminaError."""
        for task in tasks:
            if task.batch % self.size:
                raise LuminaError(
                    f"Task {task.name} has batch {task.batch}, which cannot be divided evenly among {self.size} "
                    f"processes; write a multiple of {self.size}.",
                    field="batch",
                    kind="value",
                )

    def check_same_step(self, step: int) -> None:
        """Check that all processes resume from the same step. Raises LuminaError."""
        if int(self.sum(torch.tensor(step))) != step * self.size:
            raise LuminaError(
                f"Process {self.rank} resumes from step {step}, and others from another step; put the out folder of "
                "the recipe on a disk that all processes share.",
                field="out",
                kind="mismatch",
            )

    def shard(self, network: Any, bf16: bool) -> None:
        """Shard a network over the processes, in place; with ``bf16``, its blocks compute in bfloat16."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(str(self.device and self.device.type), (self.size,))
        # Inputs are not cast: t and the conditioning that is computed from it are float32 in a bf16 run too.
        half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        blocks = half if bf16 else MixedPrecisionPolicy()
        for layer in network.layers:
            fully_shard(layer, mesh=mesh, mp_policy=blocks)
        fully_shard(network, mesh=mesh)


# A run in one process.
SINGLE = DistContext()


@contextmanager
def init_distributed(device: str = AUTO) -> Iterator[DistContext]:
    """Context of a run: joins the processes of torchrun, or is a single process if torchrun did not start it.

    Args:
        device: auto, cpu, cuda and so on.

    Raises:
        LuminaError: torch is too old, or the device does not exist or cannot be used by several processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield DistContext(device=pick_device(device))
        return
    _check_torch()
    own = _own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    yield DistContext(dist.get_rank(), size, own)
    # Not after an error: the other processes may still be waiting for this one in a collective operation.
    dist.destroy_process_group()


def gather_full(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor, gathered from the shards of all processes; all of them must call this."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def distribute_like(value: torch.Tensor, like: Any) -> torch.Tensor:
    """A full tensor, moved to the device of ``like`` and sharded like it."""
    value = value.to(like.device)
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)


def _check_torch() -> None:
    if dist.is_available():
        from torch.distributed import fsdp

        if hasattr(fsdp, "fully_shard"):
            return
    raise LuminaError(
        f"Training in several processes needs torch 2.6 or newer, built with torch.distributed, but this is torch "
        f"{torch.__version__}; update torch, or run the command without torchrun.",
        field="torch",
        kind="missing",
    )


def _own_device(name: str, local_rank: int) -> torch.device:
    kind = pick_device(name).type
    if kind not in ("cuda", "cpu"):
        raise LuminaError(
            f"Several processes can train on CUDA GPUs or on the CPU, not on {kind}; start one process, or set device.",
            field="device",
            kind="value",
        )
    if kind == "cpu":
        return torch.device("cpu")
    own = pick_device(f"cuda:{local_rank}")
    torch.cuda.set_device(own)
    return own
