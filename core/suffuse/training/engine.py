"""What the loop asks of whatever runs it: a device, a precision, and gradients of several processes.

The loop is written against this protocol, so that data-parallel and sharded engines (`suffuse.training.parallel`) take
the place of the single process without a change to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError, suggest
from suffuse.world import World

__all__ = ["Engine", "SingleProcess", "exact", "opened", "pick_device"]

_PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(Protocol):
    """Runs a network on one or more devices. What is said of all processes has to be called in all of them."""

    device: torch.device
    rank: int
    world_size: int

    def shard(self, network: nn.Module) -> None:
        """Split the weights over the processes, in place, if that is what this engine does; before `prepare`."""
        ...

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network as the loop calls it."""
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of forward passes."""
        ...

    def part(self, last: bool) -> AbstractContextManager[object]:
        """Around forward and backward of one part of a batch; gradients are exchanged in the last part alone."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's share of a loss that is the sum over processes."""
        ...

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
        """Clip, update, clear. Returns the norm of the whole gradient before clipping."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain data that a resumed run needs, such as the scale of the loss."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        ...

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors as they would be in one process. Only process 0 may use what comes back."""
        ...

    def spread(self, value: Tensor, like: Tensor) -> Tensor:
        """A whole tensor as ``like`` one of a network's own is kept."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes."""
        ...

    def highest(self, value: int) -> int:
        """The largest over processes."""
        ...

    def share(self, text: str) -> str:
        """The text that process 0 has."""
        ...

    def first(self) -> AbstractContextManager[object]:
        """A block that process 0 goes through before any other, such as one that fills a cache."""
        ...


class SingleProcess:
    """One process on one device.

    Args:
        device: ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device.
        precision: of the network's forward pass: ``fp32``, ``bf16`` or ``fp16`` (with loss scaling). With ``tf32``
            products and convolutions on NVIDIA cards round their factors to 10 bits; elsewhere it is fp32.
    """

    rank = 0
    world_size = 1

    def __init__(self, device: str = "auto", precision: str = "fp32") -> None:
        if precision not in _PRECISIONS:
            raise ConfigError(
                f"trainer.precision={precision}: known are {', '.join(_PRECISIONS)}{suggest(precision, _PRECISIONS)}"
            )
        self.device = pick_device(device)
        self.dtype = _PRECISIONS[precision]
        if self.device.type == "cuda":
            exact(precision != "tf32")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")

    def shard(self, network: nn.Module) -> None:
        return None

    def prepare(self, network: nn.Module) -> nn.Module:
        return network

    def autocast(self) -> AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def part(self, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
        self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm else float("inf"), foreach=True)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state:
            self.scaler.load_state_dict(dict(state))

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(tensors)

    def spread(self, value: Tensor, like: Tensor) -> Tensor:
        return value

    def sum(self, value: Tensor) -> Tensor:
        return value

    def highest(self, value: int) -> int:
        return value

    def share(self, text: str) -> str:
        return text

    def first(self) -> AbstractContextManager[object]:
        return nullcontext()


@contextmanager
def opened(device: str, precision: str, shard: bool = False, meeting: float = 60.0) -> Iterator[Engine]:
    """The engine for the processes that torchrun or srun started, or for this one alone.

    Args:
        device, precision: as for `SingleProcess`.
        shard: split weights, gradients, averages and the optimizer's state over the processes, where there are several.
        meeting: seconds in which they have to find one another.

    Raises:
        ConfigError: the device or the precision is none, or does not go with several processes.
        RunError: another process of the run has ended, or did not come.
    """
    world = World.here()
    if world.size == 1:
        yield SingleProcess(device, precision)
        return
    from suffuse.training.parallel import connected

    with connected(world, device, precision, shard, meeting) as engine:
        yield engine


def exact(all_bits: bool) -> None:
    """Whether products and convolutions of fp32 on NVIDIA cards take all bits of their factors, or 10 (TF32).

    By itself torch lets convolutions take 10.
    """
    torch.set_float32_matmul_precision("highest" if all_bits else "high")
    torch.backends.cudnn.allow_tf32 = not all_bits


def pick_device(name: str) -> torch.device:
    """A device by name; ``auto`` takes the best there is, and of several processes each takes a GPU of its own.

    Raises:
        ConfigError: torch does not know it, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    world = World.here()
    if name == "cuda" and world.size > 1:
        name = f"cuda:{world.local}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={name}: {reason}") from error
    return device
