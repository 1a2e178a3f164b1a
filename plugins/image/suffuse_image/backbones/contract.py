"""What the backbones for images share: the ranges of settings, and the checks that an image fits the strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from torch import Tensor

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.fitting import Range
from suffuse.state import State

__all__ = ["Count", "Share", "image_field", "open_state"]

Count: TypeAlias = Annotated[int, Range(least=1)]
Share: TypeAlias = Annotated[float, Range(least=0, below=1)]


def image_field(fields: Mapping[str, Field], stride: int, backbone: str, remedy: str) -> tuple[str, int]:
    """The name and the channels of the one field, if the backbone can take it.

    Args:
        fields: of the data.
        stride: what the height and the width must be multiples of.
        backbone: for the message, its name in the configuration.
        remedy: for the message, which of its settings lower the stride.

    Raises:
        ConfigError: the field is no image, there are several, or its sides do not fit.
    """
    if len(fields) != 1:
        raise ConfigError(f"backbone={backbone} takes one field of pixels; this data has {', '.join(fields) or 'none'}")
    ((name, field),) = fields.items()
    if len(field.shape) != 3 or min(field.shape) < 1:
        shape = list(field.shape)
        raise ConfigError(f"backbone={backbone} takes images [channels, height, width]; field {name!r} has {shape}")
    channels, height, width = field.shape
    if height % stride or width % stride:
        raise ConfigError(
            f"backbone={backbone}: images of {height}x{width} do not fit; with these settings both sides must be "
            f"multiples of {stride}: {remedy}, or resize the images"
        )
    return name, channels


def open_state(state: State, log_snr: Mapping[str, Tensor], name: str, stride: int) -> tuple[Tensor, Tensor]:
    """The pixels ``[B, C, H, W]`` and their log-SNR ``[B]`` in the same type.

    Raises:
        ValueError: the sides are no multiples of ``stride``, or the log-SNR differs from pixel to pixel.
    """
    x, level = state[name], log_snr[name]
    if x.shape[-2] % stride or x.shape[-1] % stride:
        raise ValueError(f"images of {x.shape[-2]}x{x.shape[-1]}: both sides must be multiples of {stride}")
    if level.ndim != 1:
        raise ValueError(f"a log-SNR {list(level.shape)} for each element: this backbone takes one for each image, [B]")
    return x, level.to(x.dtype)
