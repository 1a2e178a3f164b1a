"""What one field of the state is: its shape, space, layout and measured scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from suffuse.errors import RunError
from suffuse.layouts import Dense, Layout, Masked
from suffuse.spaces import Euclidean, Space

__all__ = ["Field"]

_KINDS: dict[str, type[Layout] | type[Space]] = {kind.__name__: kind for kind in (Dense, Masked, Euclidean)}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named quantity of every sample.

    Args:
        shape: of one sample, without the batch; -1 on an axis whose length varies from sample to sample.
        space: which values it may take.
        layout: how samples of different size lie in memory.
        scale: the standard deviation of the clean values, measured on the training data (sigma_data of EDM).
        weight: of this field in the training loss.
    """

    shape: tuple[int, ...]
    space: Space = Euclidean()
    layout: Layout = Dense()
    scale: float = 1.0
    weight: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back; it names kinds, never code."""
        return {
            "shape": list(self.shape),
            "space": {"kind": type(self.space).__name__, **asdict(self.space)},
            "layout": {"kind": type(self.layout).__name__, **asdict(self.layout)},
            "scale": self.scale,
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """The inverse of `to_json`.

        Raises:
            RunError: the data is not a field of this version.
        """
        try:
            space, layout = dict(data["space"]), dict(data["layout"])
            return cls(
                shape=tuple(data["shape"]),
                space=_KINDS[space.pop("kind")](**space),  # type: ignore[arg-type]
                layout=_KINDS[layout.pop("kind")](**layout),  # type: ignore[arg-type]
                scale=float(data["scale"]),
                weight=float(data["weight"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the description of a field is not readable ({error!r}): {dict(data)}") from error
