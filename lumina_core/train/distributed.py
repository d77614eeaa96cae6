"""One process, or several that torchrun has started: who trains on what, and what is exchanged.

    torchrun --nproc-per-node N -m lumina_core train RECIPE
Every process holds a part of each weight and of AdamW's moments (torch's ``fully_shard``, known as FSDP2) and takes its
share of each batch; the gradients are those of the whole batch.
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
    """The processes of a run. This one is ``rank`` of ``size``, on ``device`` (the recipe's when None)."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints, rank 0."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """The positions of a batch of ``count`` samples that this process takes."""
        return range(self.rank, count, self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """A tensor on the CPU, summed over the processes."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.cpu()

    def check_batches(self, tasks: Iterable[TaskSpec]) -> None:
        """Raise LuminaError unless every batch can be shared out evenly."""
        for task in tasks:
            if task.batch % self.size:
                raise LuminaError(
                    f"Task {task.name} has a batch of {task.batch}, which {self.size} processes cannot share evenly; "
                    f"write a multiple of {self.size}.",
                    field="batch",
                )

    def check_same_step(self, step: int) -> None:
        """Raise LuminaError unless all processes start from one saved state."""
        if int(self.sum(torch.tensor(step))) != step * self.size:
            raise LuminaError(
                f"Process {self.rank} resumes from step {step}, and others from another one; put the recipe's out "
                "folder on a disk that all processes share.",
                field="out",
                kind="mismatch",
            )

    def shard(self, network: Any, bf16: bool) -> None:
        """Leave this process its shard of every weight. With ``bf16`` the blocks gather and compute in bfloat16."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(str(self.device and self.device.type), (self.size,))
        # Inputs keep their type: t, and the conditioning made of it, are float32 in a bf16 run too.
        half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
        blocks = half if bf16 else MixedPrecisionPolicy()
        for layer in network.layers:
            fully_shard(layer, mesh=mesh, mp_policy=blocks)
        fully_shard(network, mesh=mesh)


SINGLE = DistContext()


@contextmanager
def init_distributed(device: str = AUTO) -> Iterator[DistContext]:
    """Join the processes of the same torchrun; one process where none started it. Raises LuminaError."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield DistContext(device=pick_device(device))
        return
    _check_torch()
    place = _own_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    yield DistContext(dist.get_rank(), size, place)
    # Only after success: following an error here, the others may still wait in a step that this process never joins.
    dist.destroy_process_group()


def gather_full(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor, gathered from the shards of all processes; all of them must call this."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def distribute_like(value: torch.Tensor, like: Any) -> torch.Tensor:
    """A full tensor on the device of ``like``, sharded over the processes as ``like`` is."""
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
        f"Training in several processes needs torch 2.6 or newer, built with torch.distributed, and this is "
        f"{torch.__version__}; update torch, or start the command without torchrun.",
        field="torch",
        kind="missing",
    )


def _own_device(name: str, local_rank: int) -> torch.device:
    kind = pick_device(name).type
    if kind not in ("cuda", "cpu"):
        raise LuminaError(
            f"Several processes train on CUDA GPUs or the CPU, not on {kind}; start one, or set device.", field="device"
        )
    if kind == "cpu":
        return torch.device("cpu")
    place = pick_device(f"cuda:{local_rank}")
    torch.cuda.set_device(place)
    return place
