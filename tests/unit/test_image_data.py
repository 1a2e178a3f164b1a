"""Splits, the embedded digits and IDX files: what is read, held out and augmented, and what bad input says."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import check_gather, everything, one_line, plain, size, tree
from PIL import Image

from suffuse.conditions import ClassLabel
from suffuse.errors import ConfigError, DataError
from suffuse_image.data import Digits, Folder, Idx, ImageSplit, pictures
from suffuse_image.data.pictures import flatten, to_array

# Splits


@pytest.mark.parametrize("cache", ["always", "never"])
@pytest.mark.parametrize("crop", ["centre", "random"])
def test_gather_agrees_with_single_items(tmp_path: Path, cache: str, crop: str) -> None:
    check_gather(Folder(path=tree(tmp_path), size=6, cache=cache, crop=crop).train)


@pytest.mark.parametrize("cache", ["always", "never"])
def test_augmentation_is_a_function_of_its_generators(tmp_path: Path, cache: str) -> None:
    split = Folder(path=tree(tmp_path), size=6, cache=cache, flip=True).train
    indices = [0, 1, 2, 3] * 8

    def rngs() -> list[np.random.Generator]:
        return [np.random.default_rng(seed) for seed in range(len(indices))]

    batch = split.gather(indices, rngs()).values
    single = [split.augment(split[i], rng).value for i, rng in zip(indices, rngs(), strict=True)]
    assert torch.equal(batch, split.gather(indices, rngs()).values)
    assert np.array_equal(batch.numpy(), np.stack(single))
    mirrored = [not np.array_equal(value, split[i].value) for i, value in zip(indices, single, strict=True)]
    assert all(
        np.array_equal(value[:, :, ::-1], split[i].value)
        for i, value, is_mirrored in zip(indices, single, mirrored, strict=True)
        if is_mirrored
    )
    assert 4 < sum(mirrored) < 28


def test_augmentation_in_memory_does_not_change_the_data(tmp_path: Path) -> None:
    split = Folder(path=tree(tmp_path), size=6, flip=True).train
    before = split.gather(range(4)).values.clone()
    split.gather(range(4), [np.random.default_rng(seed) for seed in range(4)])
    split[0].value[:] = 0
    assert torch.equal(split.gather(range(4)).values, before)


@pytest.mark.parametrize("cache", ["always", "never"])
def test_random_crops_are_windows_of_the_whole_picture(tmp_path: Path, cache: str) -> None:
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (8, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    split = Folder(path=tmp_path, size=8, mode="grey", crop="random", cache=cache).train
    batch = split.gather([0] * 50, [np.random.default_rng(seed) for seed in range(50)]).values
    starts = {int(value[0, 0, 0]) for value in batch}
    assert starts == {10 * place for place in range(9)}
    assert all(torch.equal(v[0, 0].int(), torch.arange(8) * 10 + int(v[0, 0, 0])) for v in batch)
    assert split[0].value[0, 0, 0] == 40


def test_a_very_long_picture_does_not_fill_the_memory(tmp_path: Path) -> None:
    plain(tmp_path / "long.png", (1, 2, 3), size=(60_000, 2))
    split = Folder(path=tmp_path, size=16, crop="random").train
    assert split.gather([0], [np.random.default_rng(0)]).values.shape == (1, 3, 16, 16)


def test_iteration_ends(tmp_path: Path) -> None:
    split = Folder(path=tree(tmp_path), size=6).train
    assert len(list(split)) == len(split)  # type: ignore[call-overload]


# Digits


def test_digits_are_the_real_ones() -> None:
    from sklearn.datasets import load_digits

    source = Digits(heldout=0.2)
    flat, labels = load_digits(return_X_y=True)
    assert sum(size(source)) == 1797
    seen = sorted(
        (item.condition["label"], np.rint(item.value.reshape(-1) * (16 / 255)).tobytes()) for item in everything(source)
    )
    assert seen == sorted((int(label), value.tobytes()) for label, value in zip(labels, flat, strict=True))
    assert source.train.gather([0, 5]).values.shape == (2, 1, 8, 8)


def test_digits_are_split_within_each_class_and_always_alike() -> None:
    first, second = Digits(heldout=0.2), Digits(heldout=0.2)
    everyone = range(len(first.heldout))
    labels = first.heldout.gather(everyone).conditions["label"]
    counts = torch.bincount(labels, minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 36
    assert torch.equal(first.heldout.gather(everyone).values, second.heldout.gather(everyone).values)
    assert first.train.conditions["label"].parse("7", "label") == 7


# IDX


def idx_bytes(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def idx_folder(root: Path, *, part: str = "train", count: int = 40, packed: bool = True, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 5, 4), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 4
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        data = idx_bytes(values)
        path = root / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data) if packed else data)
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_idx_reads_both_parts(tmp_path: Path, packed: bool) -> None:
    idx_folder(tmp_path, packed=packed)
    idx_folder(tmp_path, part="t10k", count=12, packed=packed, seed=1)
    source = Idx(path=tmp_path, names=["a", "b", "c", "d"], flip=True)
    assert size(source) == (40, 12)
    assert source.train.conditions == {"label": ClassLabel(("a", "b", "c", "d"))}
    expected = np.random.default_rng(1).integers(0, 256, (12, 5, 4), dtype=np.uint8)
    assert np.array_equal(source.heldout.gather(range(12)).values[:, 0].numpy(), expected)
    assert source.heldout[6].condition == {"label": 2}
    assert isinstance(source.train, ImageSplit)
    assert source.train.shape == (5, 4)
    check_gather(source.train)


def test_idx_holds_out_a_share_of_each_class_without_a_test_part(tmp_path: Path) -> None:
    source = Idx(path=idx_folder(tmp_path), heldout=0.2)
    assert size(source) == (32, 8)
    assert source.heldout.gather(range(8)).conditions["label"].bincount().tolist() == [2, 2, 2, 2]


def test_idx_takes_a_longer_name_and_asks_where_it_is_ambiguous(tmp_path: Path) -> None:
    assert len(Idx(path=idx_folder(tmp_path, part="train40k")).train) == 36
    idx_folder(tmp_path, part="train60k")
    with pytest.raises(DataError, match="train40k, train60k") as error:
        Idx(path=tmp_path)
    assert "data.train" in one_line(error)
    assert len(Idx(path=tmp_path, train="train60k").train) == 36


def swap(path: Path, change: Callable[[bytes], bytes]) -> None:
    packed = path.suffix == ".gz"
    data = change(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    path.write_bytes(gzip.compress(data) if packed else data)


BAD_IDX: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[:-3], "cut off"),
    "too long": (lambda data: data + b"\0", "longer than its header"),
    "cut in the header": (lambda data: data[:6], "not an IDX file"),
    "empty": (lambda data: b"", "not an IDX file"),
    "other type": (lambda data: b"\0\0\x0d" + data[3:], "not an IDX file"),
    "other axes": (lambda data: b"\0\0\x08\x01" + data[4:], "not an IDX file"),
    "huge": (lambda data: data[:4] + b"\xff" * 12 + data[16:], r"header says \d+ bytes"),
    "no images": (lambda data: data[:4] + b"\0" * 4 + data[8:16], "labels for the 0 images"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("case", BAD_IDX)
def test_idx_headers_that_lie_are_named(tmp_path: Path, case: str, packed: bool) -> None:
    idx_folder(tmp_path, packed=packed)
    name = f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    swap(tmp_path / name, BAD_IDX[case][0])
    with pytest.raises(DataError, match=BAD_IDX[case][1]) as error:
        Idx(path=tmp_path)
    assert name in one_line(error)


def test_idx_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = idx_folder(tmp_path) / "train-images-idx3-ubyte.gz"
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], b"not gzip at all", data[:40] + b"\xff" * 20 + data[60:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
            Idx(path=tmp_path)


def test_idx_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Idx(path=tmp_path / "none")
    with pytest.raises(DataError, match="sets found: none"):
        Idx(path=tmp_path)
    idx_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"2 names, but the labels .* go up to 3"):
        Idx(path=tmp_path, names=["a", "b"])
    swap(tmp_path / "train-labels-idx1-ubyte.gz", lambda data: idx_bytes(np.zeros(7, np.uint8)))
    with pytest.raises(DataError, match="7 labels for the 40 images"):
        Idx(path=tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"expected train-labels-idx1-ubyte or train-labels-idx1-ubyte\.gz"):
        Idx(path=tmp_path)


def test_idx_parts_must_be_of_one_size(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    idx_folder(tmp_path, part="t10k")
    swap(tmp_path / "t10k-images-idx3-ubyte.gz", lambda data: idx_bytes(np.zeros((40, 6, 6), np.uint8)))
    with pytest.raises(DataError, match=r"t10k.*\(6, 6\)"):
        Idx(path=tmp_path)


# Colours


def shaded(mode: str) -> Image.Image:
    """A picture of 40 x 23 pixels that shows every level, half transparent where the mode can be."""
    rng = np.random.default_rng(3)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 1 << 16, (23, 40), dtype=np.uint16))
    whole = Image.fromarray(rng.integers(0, 256, (23, 40, 4), dtype=np.uint8), "RGBA")
    if mode == "P":
        palette = whole.convert("RGB").quantize(16)
        palette.info["transparency"] = 3
        return palette
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode)


@pytest.mark.parametrize("wanted", ["rgb", "grey"])
@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "CMYK", "L", "RGB", "1"])
def test_colours_change_alike_in_bands_and_at_once(mode: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = to_array(flatten(shaded(mode), wanted, "teal"))
    monkeypatch.setattr(pictures, "_BAND", 130)  # three rows, so that the last band is a shorter one
    assert np.array_equal(to_array(flatten(shaded(mode), wanted, "teal")), whole)


def test_every_level_of_sixteen_bits_is_the_nearest_of_eight() -> None:
    levels = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    found = to_array(flatten(Image.fromarray(levels), "grey", "white"))[0]
    assert np.array_equal(found, np.rint(levels / 65535 * 255))


def test_what_is_transparent_shows_what_is_behind_it() -> None:
    image = Image.fromarray(np.full((8, 8, 4), (200, 0, 0, 0), np.uint8), "RGBA")
    assert set(to_array(flatten(image, "rgb", "#0a141e")).reshape(3, -1).T.flatten().tolist()) == {10, 20, 30}
