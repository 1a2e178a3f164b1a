"""Where clouds come from, and what becomes of them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suffuse.conditions import ClassLabel, Condition, Scalar
from suffuse.data import DataSource, Decoder, Item, Split
from suffuse.fields import Field
from suffuse.layouts import Masked
from suffuse.spaces import Categorical, Torus, ZeroCenterOfMass
from suffuse.state import State

__all__ = ["Cloud", "Clouds"]

KINDS = ("red", "green", "blue")


class Part(Split):
    """Some of the clouds."""

    def __init__(self, rows: range) -> None:
        self.rows = rows
        self.conditions: Mapping[str, Condition] = {"shape": ClassLabel(("flat", "round")), "size": Scalar(3.5, 1.0)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng(self.rows[index])
        count, flat = self.size(index), self.rows[index] % 2 == 0
        points = rng.standard_normal((count, 3)) * (1.5, 1.5, 0.1 if flat else 1.5)
        cloud = {
            "points": points - points.mean(0),
            "kinds": rng.integers(3, size=count),
            "angles": rng.random((count, 2)),
        }
        return Item(cloud, {"shape": 0 if flat else 1, "size": count})

    def size(self, index: int) -> int:
        """Of one cloud."""
        return 2 + self.rows[index] % 4

    def sizes(self) -> Sequence[int]:
        return [self.size(index) for index in range(len(self))]

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        return item._replace(value={**item.value, "points": item.value["points"] * rng.choice((-1, 1), size=3)})


class Clouds(DataSource):
    """Made up when asked for.

    Args:
        count: of clouds to train on; a quarter as many are held out.
    """

    def __init__(self, *, count: int = 32) -> None:
        self.train, self.heldout = Part(range(count)), Part(range(count, count + count // 4))


class Cloud(Decoder):
    """Clouds as points, kinds and angles, and as JSON.

    Args:
        digits: of numbers in files.
    """

    suffix = ".json"

    def __init__(self, *, digits: int = 6) -> None:
        self.digits = digits
        self.names: tuple[str, ...] = ()

    def fields(self, train: Split) -> dict[str, Field]:
        spread = np.concatenate([train[index].value["points"].ravel() for index in range(len(train))]).std()
        fields = {
            "positions": Field(shape=(-1, 3), space=ZeroCenterOfMass(), layout=Masked(), scale=float(spread)),
            "kinds": Field(shape=(-1,), space=Categorical(3), layout=Masked(), names=KINDS),
            "angles": Field(shape=(-1, 2), space=Torus(1.0), layout=Masked()),
        }
        self.adopt(fields)
        return fields

    def adopt(self, fields: Mapping[str, Field]) -> None:
        self.names = fields["kinds"].names

    def encode(self, values: Any) -> State:
        room = max(len(value["kinds"]) for value in values)
        mask = torch.zeros(len(values), room, dtype=torch.bool)
        positions, angles = torch.zeros(len(values), room, 3), torch.zeros(len(values), room, 2)
        kinds = torch.zeros(len(values), room, dtype=torch.long)
        for row, value in enumerate(values):
            count = len(value["kinds"])
            mask[row, :count] = True
            positions[row, :count] = torch.as_tensor(np.asarray(value["points"]))
            angles[row, :count] = torch.as_tensor(np.asarray(value["angles"]))
            kinds[row, :count] = torch.as_tensor(np.asarray(value["kinds"]))
        return State({"positions": positions, "kinds": kinds, "angles": angles}, mask)

    def decode(self, state: State) -> list[Any]:
        assert state.mask is not None
        found = []
        for row, count in enumerate(state.mask.sum(1).tolist()):
            parts = {"points": state["positions"], "kinds": state["kinds"], "angles": state["angles"]}
            found.append({name: part[row, :count].clone().numpy() for name, part in parts.items()})
            found[-1]["names"] = [self.names[kind] for kind in found[-1]["kinds"]]
        return found

    def load(self, path: Path, fields: Mapping[str, Field]) -> Any:
        return json.loads(path.read_text())

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        raise NotImplementedError

    def save(self, value: Any, path: Path, record: Mapping[str, Any]) -> None:
        rounded = {name: np.round(part, self.digits).tolist() for name, part in value.items() if name != "names"}
        path.write_text(json.dumps({**rounded, "record": dict(record)}))

    def sheet(self, values: Sequence[Any], captions: Sequence[str], path: Path) -> None:
        path.write_text("\n".join(captions))

    def html(self, value: Any) -> str:
        return f"<p>{html.escape(', '.join(value['names']))}</p>"
