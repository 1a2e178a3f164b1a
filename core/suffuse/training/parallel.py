"""Several processes that train one network, on torch's own engine: DDP, or FSDP2 where the weights are split.

Each process computes its rows of every part of the batch. Noise, levels and data belong to a row's place in the batch
of the step, so that what is learned does not depend on how many processes there are, up to the order of sums.
"""

from __future__ import annotations

import atexit
import datetime
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from suffuse.errors import ConfigError, RunError
from suffuse.training.engine import SingleProcess, pick_device
from suffuse.world import World

__all__ = ["Replicas", "Sharded", "connected"]

_WAIT = datetime.timedelta(minutes=30)
"""For one another once they have met, as while process 0 prepares data. One that ends is noticed without it."""

_LEAST = 0.01
"""The share of a network's weights from which on one of its blocks is fetched by itself."""


class Replicas(SingleProcess):
    """DDP: every process has the whole network.

    Args:
        world: of the processes, which are connected already.
        device, precision: as for `SingleProcess`.
    """

    def __init__(self, world: World, device: str = "auto", precision: str = "fp32") -> None:
        super().__init__(device, precision)
        self.rank, self.world_size = world.rank, world.size
        self._network: nn.Module | None = None

    def prepare(self, network: nn.Module) -> nn.Module:
        self._network = DistributedDataParallel(network, gradient_as_bucket_view=True)
        return self._network

    def part(self, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else cast(DistributedDataParallel, self._network).no_sync()

    def backward(self, loss: Tensor) -> None:
        super().backward(loss * self.world_size)  # torch averages gradients over processes

    def sum(self, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    def highest(self, value: int) -> int:
        most = torch.tensor(value)  # on the CPU: no wait for the device
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)

    def share(self, text: str) -> str:
        data = torch.frombuffer(bytearray(text.encode()) or bytearray(1), dtype=torch.uint8)
        length = torch.tensor(len(data))
        dist.broadcast(length, 0)
        if self.rank:
            data = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return bytes(data.numpy()).rstrip(b"\0").decode()

    @contextmanager
    def first(self) -> Iterator[None]:
        if self.rank:
            self.highest(0)
        yield
        if not self.rank:
            self.highest(0)


class Sharded(Replicas):
    """FSDP2: every process keeps a share of each weight and of all that belongs to it, and fetches the rest to use it.

    Raises:
        ConfigError: the precision cannot be split.
    """

    def __init__(self, world: World, device: str = "auto", precision: str = "fp32") -> None:
        super().__init__(world, device, precision)
        if precision == "fp16":
            raise ConfigError(
                "trainer.precision=fp16: the scale of its loss cannot be split (trainer.shard); take bf16"
            )
        self.mesh = init_device_mesh(self.device.type, (world.size,))

    def shard(self, network: nn.Module) -> None:
        network.to(memory_format=torch.contiguous_format)  # of a share, channels_last has no meaning
        for unit in [*_blocks(network), *network.children(), network]:
            fully_shard(unit, mesh=self.mesh, reshard_after_forward=True)

    def prepare(self, network: nn.Module) -> nn.Module:
        self._network = network
        return network

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        cast(FSDPModule, self._network).set_requires_gradient_sync(last)
        yield

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
        return _whole(super().step(optimizer, clip_norm))

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = {}
        for name, value in tensors.items():  # one at a time: no process but the first ever holds two whole ones
            whole = _whole(value)
            if not self.rank:
                kept[name] = whole.cpu()
        return kept

    def spread(self, value: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return value
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def connected(world: World, device: str, precision: str, shard: bool, meeting: float) -> Iterator[Replicas]:
    """The engine of this process, while all of them are there. See `suffuse.training.engine.opened`."""
    here = pick_device(device)
    cuda = here.type == "cuda"
    if cuda:
        torch.cuda.set_device(here)
    if not dist.is_initialized():  # once in the life of a process: those that meet again may meet a room being closed
        _meet(world, "cpu:gloo,cuda:nccl" if cuda else "gloo", meeting)
    try:
        yield (Sharded if shard else Replicas)(world, device, precision)
    except BaseException as error:
        if not cuda:  # NCCL would wait for the others, which are to notice and to end in turn
            _part()
        if isinstance(error, RuntimeError) and _lost(error):
            raise RunError("another process of this run has ended; what that one said last is the cause") from error
        raise


def _meet(world: World, backend: str, seconds: float) -> None:
    soon = datetime.timedelta(seconds=seconds)
    try:
        store, rank, size = next(rendezvous(world.meeting, world.rank, world.size, timeout=soon))
        store.set_timeout(_WAIT)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WAIT)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the {world.size} processes of this run did not find one another within trainer.meeting={seconds:g} "
            f"seconds ({_first(error)})"
        ) from error
    atexit.register(_part)


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of its lists of modules, which networks call one after another; not those that are small."""
    total = sum(p.numel() for p in module.parameters())

    def walk(within: nn.Module) -> Iterator[nn.Module]:
        listed = isinstance(within, nn.ModuleList) and not _called(within)
        for child in within.children():
            if listed and _called(child) and sum(p.numel() for p in child.parameters()) >= _LEAST * total:
                yield child
            else:
                yield from walk(child)

    return walk(module)


def _called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _lost(error: RuntimeError) -> bool:
    """Whether an error says that a process at the other end is gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "Connection"))


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]
