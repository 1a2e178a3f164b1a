"""Samples of decoders that bring no files of their own: read back as they were, with their record, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

from suffuse.data import Decoder, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.samples import read_record, read_sample, sheet, write_sample
from suffuse.state import State

RECORD = {"run": "r", "sample": 3, "asked": "a <b> # suffuse {}"}


class Plain(Decoder):
    """The least that a decoder can be."""

    def fields(self, train: Split) -> dict[str, Field]:
        return {"x": Field(shape=(3, 2))}

    def encode(self, values: Any) -> State:
        return State.stacked(x=values)

    def decode(self, state: State) -> list[Any]:
        return list(state["x"].numpy())


VALUES: Mapping[str, Any] = {
    "text.txt": "one\n two <tag> $x$\n\n# three",
    "text.json": "one\ntwo",
    "numbers.json": np.array([[0.25, -1.5], [1e-7, 3.0]], np.float32),
    "classes.json": np.array([3, 0, 2]),
    "table.csv": np.array([[0.1, -2.0], [1 / 3, 4e9]], np.float32),
    "parts.json": {"a": np.zeros((2, 3), np.float32), "b": ["x", "y"], "c": 2.5, "d": None},
    "ragged.json": [[1, 2], [3]],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_file_gives_back_the_value_and_the_record(name: str, tmp_path: Path) -> None:
    write_sample(VALUES[name], tmp_path / name, RECORD)
    _same(read_sample(tmp_path / name), VALUES[name])
    assert read_record(tmp_path / name) == RECORD
    assert [file.name for file in tmp_path.iterdir()] == [name]


def _same(a: Any, b: Any) -> None:
    if isinstance(b, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in b:
            _same(a[key], b[key])
    elif b and isinstance(b, list) and not isinstance(b[0], str):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        assert a == b


def test_a_column_and_a_tensor_are_tables_too(tmp_path: Path) -> None:
    write_sample(torch.tensor([0.5, 1.0]), tmp_path / "a.csv", RECORD)
    np.testing.assert_array_equal(read_sample(tmp_path / "a.csv"), [[0.5], [1.0]])


def test_a_file_of_a_persons_own_needs_no_record(tmp_path: Path) -> None:
    for name, text in {"a.json": "[1.5, 2]", "a.txt": "1.5, 2\n", "a.csv": "1.5, 2\n"}.items():
        (tmp_path / name).write_text(text)
        assert str(np.ravel(read_sample(tmp_path / name)).tolist()) in ("[1.5, 2.0]", "['1.5, 2']")
        with pytest.raises(DataError, match="no provenance record"):
            read_record(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{nonsense"), ("a.json", "[" * 100_000), ("a.csv", "1,2\n3\n"), ("a.csv", "one\n")],
)
def test_a_damaged_file_is_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    for read in (read_sample, read_record):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"missing\.txt"):
        read_sample(tmp_path / "missing.txt")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_sample("old", tmp_path / "a.json", RECORD)
    with pytest.raises(DataError, match="cannot be written"):
        write_sample("new", tmp_path / "none" / "a.json", RECORD)
    with pytest.raises(ValueError, match=r"\.bin"):
        write_sample("new", tmp_path / "a.bin", RECORD)
    (tmp_path / "b.json").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_sample("new", tmp_path / "b.json", RECORD)
    assert read_sample(tmp_path / "a.json") == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize("value", [*VALUES.values(), "$\\frac{1}", ""], ids=repr)
def test_everything_has_a_picture(value: Any, tmp_path: Path) -> None:
    decoder = Plain()
    decoder.sheet([value] * 3, ["a", "$b_", ""], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    shown = decoder.html(value)
    assert "http" not in shown
    assert ("&lt;tag&gt;" in shown) == ("<tag>" in str(value))


def test_long_captions_are_broken_into_lines(tmp_path: Path) -> None:
    for name, caption in (("short", "a"), ("long", "damped, turns 3.14159, quiet")):
        sheet([np.zeros(3)] * 3, [caption] * 3, tmp_path / name)
    one, other = (matplotlib.image.imread(tmp_path / name, format="png").shape for name in ("short", "long"))
    assert one[0] < other[0]
    assert one[1] == other[1]


def test_a_decoder_draws_in_its_own_way() -> None:
    drawn = []

    class Own(Plain):
        def draw(self, value: Any, axes: Any) -> None:
            drawn.append(value)

    Own().html(np.zeros(3))
    assert len(drawn) == 1


def test_a_decoder_writes_three_methods_and_has_files(tmp_path: Path) -> None:
    decoder, value = Plain(), np.arange(6, dtype=np.float32).reshape(3, 2)
    decoder.save(value, tmp_path / f"a{decoder.suffix}", RECORD)
    loaded = decoder.load(tmp_path / "a.json", {})
    assert torch.equal(decoder.encode([loaded])["x"], torch.from_numpy(value)[None])
    with pytest.raises(ConfigError, match=r"mask=m\.png: the decoder Plain"):
        decoder.load_mask(Path("m.png"), {})
