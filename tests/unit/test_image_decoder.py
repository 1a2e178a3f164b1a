"""The pixels decoder: exact round trips, other people's pictures and masks, files with their record, sheets."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.state import State
from suffuse_image.data import Digits
from suffuse_image.decoder import Pixels
from suffuse_image.png import read_record
from suffuse_image.sheet import contact_sheet, enlarge

GREY = {"pixels": Field(shape=(1, 8, 8))}
COLOUR = {"pixels": Field(shape=(3, 8, 16))}


@pytest.fixture
def decoder() -> Pixels:
    return Pixels()


def noise(channels: int = 3, height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width), dtype=np.uint8)


def save(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def test_round_trip_is_exact_for_every_level(decoder: Pixels) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    state = decoder.encode(levels)
    assert state["pixels"].min() == -1
    assert state["pixels"].max() == 1
    assert np.array_equal(decoder.decode(state)[0], levels[0].numpy())


def test_a_list_is_encoded_like_a_batch(decoder: Pixels) -> None:
    values = [noise(seed=seed) for seed in range(3)]
    batch = torch.from_numpy(np.stack(values))
    assert torch.equal(decoder.encode(values)["pixels"], decoder.encode(batch)["pixels"])


def test_encoding_leaves_its_input_alone(decoder: Pixels) -> None:
    batch = torch.from_numpy(noise()[None])
    state = decoder.encode(batch)
    before = state["pixels"].clone()
    decoder.decode(state)
    assert torch.equal(state["pixels"], before)
    assert np.array_equal(batch[0].numpy(), noise())


def test_decode_clips_and_rounds(decoder: Pixels) -> None:
    state = State({"pixels": torch.tensor([-7.0, 7.0, 0.49 / 127.5, -0.49 / 127.5]).reshape(1, 1, 2, 2)})
    assert decoder.decode(state)[0].flatten().tolist() == [0, 255, 128, 127]


def test_the_scale_is_the_standard_deviation_of_the_training_part(decoder: Pixels) -> None:
    train = Digits().train
    field = decoder.fields(train)["pixels"]
    clean = decoder.encode(train.gather(range(len(train))).values)["pixels"]
    assert field.shape == (1, 8, 8)
    assert field.scale == pytest.approx(float(clean.std()), rel=1e-4)


def test_load_fits_any_picture_to_the_field(decoder: Pixels, tmp_path: Path) -> None:
    path = save(tmp_path / "wide.png", Image.new("RGBA", (400, 90), (255, 0, 0, 255)))
    value = decoder.load(path, COLOUR)
    assert value.shape == (3, 8, 16)
    assert value.dtype == np.uint8
    assert (value[0] == 255).all()
    assert decoder.load(path, GREY).shape == (1, 8, 8)


def test_load_shows_the_background_behind_transparency(tmp_path: Path) -> None:
    path = save(tmp_path / "clear.png", Image.new("RGBA", (8, 8), (9, 9, 9, 0)))
    assert (Pixels(background="#0000ff").load(path, COLOUR)[2] == 255).all()
    assert (Pixels(background="#0000ff").load(path, COLOUR)[0] == 0).all()


def test_load_of_a_picture_of_the_right_size_changes_nothing(decoder: Pixels, tmp_path: Path) -> None:
    value = noise(3, 8, 16)
    decoder.save(value, tmp_path / "a.png", {})
    assert np.array_equal(decoder.load(tmp_path / "a.png", COLOUR), value)


def test_load_names_a_file_that_is_missing_or_no_picture(decoder: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        decoder.load(tmp_path / "none.png", GREY)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png.*unknown format"):
        decoder.load(tmp_path / "text.png", GREY)


def test_a_field_of_two_channels_takes_no_picture(decoder: Pixels, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("L", (8, 8)))
    with pytest.raises(DataError, match="2"):
        decoder.load(path, {"pixels": Field(shape=(2, 8, 8))})


def test_a_mask_marks_white_and_keeps_sharp_edges(decoder: Pixels, tmp_path: Path) -> None:
    mask = Image.new("L", (64, 32), 0)
    mask.paste(255, (0, 0, 32, 32))
    marks = decoder.load_mask(save(tmp_path / "mask.png", mask), COLOUR)["pixels"]
    assert marks.shape == (1, 3, 8, 16)
    assert marks.dtype == torch.bool
    assert marks[..., :8].all()
    assert not marks[..., 8:].any()


def test_a_mask_is_cut_like_the_picture(decoder: Pixels, tmp_path: Path) -> None:
    picture = Image.new("L", (48, 16), 0)
    picture.paste(255, (24, 0, 48, 16))
    path = save(tmp_path / "both.png", picture)
    marks = decoder.load_mask(path, GREY)["pixels"][0].numpy()
    assert np.array_equal(marks, decoder.load(path, GREY) >= 128)
    assert marks.any()
    assert not marks.all()


def test_a_mask_without_white_is_refused(decoder: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"black\.png: this mask marks nothing"):
        decoder.load_mask(save(tmp_path / "black.png", Image.new("L", (8, 8))), GREY)


def test_a_saved_file_carries_its_record(decoder: Pixels, tmp_path: Path) -> None:
    record = {"run": "r1", "index": 3, "prompt": "été ✓", "digitalSourceType": "trainedAlgorithmicMedia"}
    path = tmp_path / "ünï code.png"
    decoder.save(noise(), path, record)
    assert read_record(path) == record
    assert b"iTXtsuffuse" in path.read_bytes()
    with Image.open(path) as image:
        assert image.size == (8, 8)
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), noise())


def test_a_picture_without_a_record_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no provenance record"):
        read_record(save(tmp_path / "plain.png", Image.new("L", (2, 2))))
    broken = PngImagePlugin.PngInfo()
    broken.add_itxt("suffuse", "{")
    Image.new("L", (2, 2)).save(tmp_path / "broken.png", pnginfo=broken)
    with pytest.raises(DataError, match="damaged"):
        read_record(tmp_path / "broken.png")


def test_a_failed_save_leaves_what_was_there(decoder: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    decoder.save(noise(seed=1), path, {"index": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match=r"a\.png: cannot be written \(No space left"):
        decoder.save(noise(seed=2), path, {"index": 2})
    assert os.listdir(tmp_path) == ["a.png"]
    assert read_record(path) == {"index": 1}


def test_only_images_are_saved(decoder: Pixels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float64"):
        decoder.save(np.zeros((3, 8, 8)), tmp_path / "a.png", {})
    with pytest.raises(DataError, match=r"\[2, 8, 8\]"):
        decoder.save(np.zeros((2, 8, 8), np.uint8), tmp_path / "a.png", {})


def test_a_sheet_with_repeated_captions_has_a_row_for_each() -> None:
    values = [np.full((1, 8, 8), 250 - 40 * (place % 2), np.uint8) for place in range(8)]
    sheet = contact_sheet(values, ["one", "two"] * 4)
    bright, dark = (np.asarray(sheet)[..., 0] == level for level in (250, 210))
    # The bright tiles of "one" lie above the dark ones of "two"; the paper is not quite 250 in all channels.
    bright &= np.asarray(sheet)[..., 2] == 250
    assert bright.any()
    assert np.flatnonzero(bright.any(1)).max() < np.flatnonzero(dark.any(1)).min()
    assert dark.sum() == 4 * 96 * 96


def test_a_sheet_shows_every_image_enlarged_and_whole() -> None:
    values = [np.full((3, 8, 8), 20 + place, np.uint8) for place in range(7)]
    for captions in ([""] * 7, [f"image {place}" for place in range(7)], ["same"] * 7):
        seen = np.asarray(contact_sheet(values, captions, display_size=100))[..., 0]
        assert [int((seen == 20 + place).sum()) for place in range(7)] == [96 * 96] * 7


def test_a_sheet_wraps_long_rows_evenly() -> None:
    values = [np.full((3, 8, 8), 5, np.uint8)] * 30
    sheet = contact_sheet(values, ["a very long caption that has to be cut somewhere"] * 30)
    assert sheet.width <= 1280
    assert (np.asarray(sheet)[..., 0] == 5).sum() == 30 * 96 * 96


def test_large_images_are_shown_smaller() -> None:
    assert contact_sheet([noise(3, 700, 900)], ["x"]).width < 400


def test_a_sheet_is_written_as_png(decoder: Pixels, tmp_path: Path) -> None:
    decoder.sheet([noise(seed=seed) for seed in range(4)], list("abcd"), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"


def test_a_sheet_needs_a_caption_for_each_value() -> None:
    with pytest.raises(ValueError, match="1/2"):
        contact_sheet([noise(), noise()], ["one"])


def test_html_holds_the_exact_image(decoder: Pixels) -> None:
    value = noise()
    html = decoder.html(value)
    match = re.fullmatch(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]+" width="(\d+)" .*pixelated">', html)
    assert match is not None
    assert match[2] == "96"
    with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), value)


def test_enlarging_is_by_whole_multiples() -> None:
    assert enlarge(Image.new("L", (28, 28)), 96).size == (84, 84)
    assert enlarge(Image.new("L", (200, 100)), 96).size == (200, 100)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.display_size=0"):
        Pixels(display_size=0)
    with pytest.raises(ConfigError, match=r"decoder\.background=whit"):
        Pixels(background="whit")


@pytest.mark.parametrize("factor", [2, 4])
def test_a_smaller_picture_is_a_measurement_of_averages(decoder: Pixels, tmp_path: Path, factor: int) -> None:
    value = noise(3, 8, 16)
    averages = value.reshape(3, 8 // factor, factor, 16 // factor, factor).mean((2, 4))
    decoder.save(np.round(averages).astype(np.uint8), tmp_path / "small.png", {})
    measured = decoder.measure(tmp_path / "small.png", COLOUR)
    seen = measured.operator(decoder.encode([value]))
    assert measured.value.shape == seen.shape == (1, 3, 8 // factor, 16 // factor)
    torch.testing.assert_close(seen, torch.from_numpy(averages[None] / 127.5 - 1).float())
    torch.testing.assert_close(measured.value, seen, rtol=0, atol=0.5 / 127.5 + 1e-6)


@pytest.mark.parametrize("size", [(16, 8), (5, 4), (4, 4), (32, 16)])
def test_a_picture_that_is_not_smaller_by_a_whole_factor_is_refused(
    decoder: Pixels, tmp_path: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(DataError, match=r"a\.png: has .* from 4x8, 2x4, 1x2"):
        decoder.measure(save(tmp_path / "a.png", Image.new("RGB", size)), COLOUR)
