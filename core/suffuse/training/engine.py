"""What the loop asks of whatever runs it: a device, a precision, and gradients of several processes.

The loop is written against this protocol, so that data-parallel and sharded engines take the place of the single
process without a change to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError, suggest

__all__ = ["Engine", "SingleProcess", "pick_device"]

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(Protocol):
    """Runs a network on one or more devices."""

    device: torch.device
    rank: int
    world_size: int

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network as the loop calls it."""
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of forward passes."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of the loss."""
        ...

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
        """Clip, update, clear. Returns the norm of the gradient before clipping."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain data that a resumed run needs, such as the scale of the loss."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        ...

    def reduce(self, value: Tensor) -> Tensor:
        """The mean of a scalar over processes."""
        ...

    def barrier(self) -> None:
        """Wait for all processes."""
        ...


class SingleProcess:
    """One process on one device.

    Args:
        device: ``auto`` (CUDA, then Apple's MPS, then the CPU) or a torch device.
        precision: ``fp32``, ``bf16`` or ``fp16`` (with loss scaling) for the network's forward pass.
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
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")

    def prepare(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

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

    def reduce(self, value: Tensor) -> Tensor:
        return value

    def barrier(self) -> None:
        return None


def pick_device(name: str) -> torch.device:
    """A device by name; ``auto`` takes the best there is.

    Raises:
        ConfigError: torch does not know it, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device={name}: {reason}") from error
    return device
