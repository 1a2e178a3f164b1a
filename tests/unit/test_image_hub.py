"""Datasets of the Hugging Face hub, with a stand-in for its library."""

from __future__ import annotations

import io
import sys
import types
from typing import Any

import pytest
from image_files import by_colour, check_gather, one_line, size
from PIL import Image

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError, DataError, PluginError
from suffuse_image.data import Hub


class FakeFeature:
    def __init__(self, names: list[str] | None = None) -> None:
        self.names = names


class FakeImage:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class FakeDataset:
    """The part of `datasets.Dataset` that the source uses."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features
        self.column_names = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        return {name: self._decoded(name, values[key]) for name, values in self.columns.items()}

    def _decoded(self, name: str, cell: Any) -> Any:
        feature = self.features.get(name)
        if isinstance(feature, FakeImage) and feature.decode:
            raise AssertionError("the source must decode images itself")
        return cell

    def cast_column(self, name: str, feature: Any) -> FakeDataset:
        return FakeDataset(self.columns, {**self.features, name: feature})


def cell(index: int) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("L", (8, 8), index).save(stream, format="PNG")
    return {"bytes": stream.getvalue(), "path": None}


def fake_hub(monkeypatch: pytest.MonkeyPatch, labels: list[Any], feature: Any = None, **extra: FakeDataset) -> None:
    features = {"image": FakeImage()} | ({"label": feature} if feature else {})
    train = FakeDataset({"image": [cell(index) for index in range(len(labels))], "label": labels}, features)
    parts = {"train": train, **extra}

    def load_dataset(name: str, config: str | None, *, split: str, revision: str | None) -> FakeDataset:
        if split not in parts:
            raise ValueError(f"Unknown split {split!r}.\nSecond line")
        return parts[split]

    module = types.ModuleType("datasets")
    module.load_dataset, module.Image = load_dataset, FakeImage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_hub_reads_images_and_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [index % 2 for index in range(30)], FakeFeature(["cat", "dog"]))
    source = Hub(dataset="some/pets", size=8, mode="grey")
    assert source.train.conditions == {"label": ClassLabel(("cat", "dog"))}
    assert by_colour(source) == {index: {"label": index % 2} for index in range(30)}
    assert len(source.heldout) > 0
    check_gather(source.train)


def test_hub_takes_a_part_of_its_own_for_testing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"image": [cell(200), {"bytes": None, "path": "nowhere.png"}], "label": ["x", "y"]}
    fake_hub(monkeypatch, ["x"] * 20, test=FakeDataset(images, {"image": FakeImage()}))
    with pytest.warns(UserWarning, match=r"1 of 22 .*row 21"):
        source = Hub(dataset="n", size=8, mode="grey", test_split="test")
    assert size(source) == (20, 1)
    assert source.heldout[0].value[0, 0, 0] == 200
    assert source.heldout[0].condition == {"label": 0}


def test_hub_labels_of_other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [0.5, 1.5, 2.5, 3.5])
    assert isinstance(Hub(dataset="n", size=8).train.conditions["label"], Scalar)
    fake_hub(monkeypatch, ["b", "a", "b", None])
    with pytest.warns(UserWarning, match="1 of 4 have no 'label'"):
        assert Hub(dataset="n", size=8).train.conditions["label"] == ClassLabel(("a", "b"))
    assert Hub(dataset="n", size=8, label_column=None).train.conditions == {}


def test_hub_cells_that_are_pictures_already(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = FakeDataset({"image": [Image.new("L", (9, 9), index) for index in range(5)]}, {})
    fake_hub(monkeypatch, [0], other=pictures)
    source = Hub(dataset="n", size=8, mode="grey", split="other", label_column=None)
    assert sorted(by_colour(source)) == [0, 1, 2, 3, 4]


def test_hub_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, [0, 1, 0, 1])
    with pytest.raises(ConfigError, match=r"data\.image_column=img: n has no such column; it has image, label"):
        Hub(dataset="n", image_column="img")
    with pytest.raises(ConfigError, match=r"data\.label_column=lable: .*did you mean 'label'"):
        Hub(dataset="n", label_column="lable")
    with pytest.raises(DataError, match=r"data\.dataset=n \(part val\): cannot be loaded: Unknown split") as error:
        Hub(dataset="n", split="val")
    one_line(error)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PluginError, match=r'pip install "suffuse\[hub\]"'):
        Hub(dataset="n")
