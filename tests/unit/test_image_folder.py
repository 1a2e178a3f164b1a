"""Folders of pictures of every kind, good and bad."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import everything, one_line, picture, plain, size, tree
from PIL import Image

from suffuse.errors import ConfigError, DataError
from suffuse_image.data import Digits, Folder

# Pictures


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.JPG", {"quality": 100}), ("a.webp", {"lossless": True}), ("a.bmp", {}), ("a.gif", {})],
)
def test_every_format_is_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    kind = {"jpg": "JPEG"}.get(name[2:].lower(), name[2:])
    plain(tmp_path / name, (200, 100, 50), format=kind, **options)
    value = everything(Folder(path=tmp_path, size=8))[0].value
    assert np.abs(value.reshape(3, -1).astype(int).T - (200, 100, 50)).max() <= 3


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert everything(Folder(path=tmp_path, size=8))[0].value[:, 0, 0].tolist() == [255, 0, 0]


def test_the_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    plain(tmp_path / "a.jpg", (1, 2, 3), format="PNG")
    assert everything(Folder(path=tmp_path, size=8))[0].value[:, 0, 0].tolist() == [1, 2, 3]


def test_mixed_modes_come_out_as_one(tmp_path: Path) -> None:
    plain(tmp_path / "1.png", 1, "1")
    plain(tmp_path / "L.png", 255, "L")
    plain(tmp_path / "LA.png", (0, 0), "LA")
    plain(tmp_path / "RGBA.png", (0, 0, 0, 0), "RGBA")
    plain(tmp_path / "I16.png", 65535, "I;16")
    plain(tmp_path / "CMYK.jpg", (0, 0, 0, 0), "CMYK")
    Image.new("RGB", (8, 8), "white").quantize().save(tmp_path / "P.png")
    clear = Image.new("RGB", (8, 8), "black").quantize()
    clear.save(tmp_path / "PA.png", transparency=int(np.asarray(clear)[0, 0]))
    clear.save(tmp_path / "clear.gif", transparency=int(np.asarray(clear)[0, 0]))
    for mode, channels in (("rgb", 3), ("grey", 1)):
        items = everything(Folder(path=tmp_path, size=8, mode=mode))
        assert len(items) == 9
        assert all(item.value.shape == (channels, 8, 8) for item in items)
        assert min(item.value.min() for item in items) >= 254


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0x8080, np.uint16)).save(tmp_path / "a.png")
    assert (everything(Folder(path=tmp_path, size=8))[0].value == 0x80).all()


def test_transparency_shows_the_background(tmp_path: Path) -> None:
    plain(tmp_path / "a.png", (255, 0, 0, 128), "RGBA")
    value = everything(Folder(path=tmp_path, size=8, background="#0000ff"))[0].value[:, 0, 0]
    assert value.tolist() == pytest.approx([128, 0, 127], abs=1)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = Image.new("RGB", (16, 16), "black")
    upright.paste("white", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90).save(tmp_path / "a.jpg", exif=exif, quality=100)
    value = everything(Folder(path=tmp_path, size=16, mode="grey"))[0].value[0]
    assert value[:7].min() > 200
    assert value[9:].max() < 55


def test_the_middle_square_is_kept(tmp_path: Path) -> None:
    image = Image.new("L", (300, 100), 0)
    image.paste(255, (100, 0, 200, 100))
    image.save(tmp_path / "wide.png")
    image.rotate(90, expand=True).save(tmp_path / "high.png")
    for item in everything(Folder(path=tmp_path, size=20, mode="grey")):
        assert item.value[0, 3:17, 3:17].min() == 255


def test_an_image_of_the_right_size_is_not_touched(tmp_path: Path) -> None:
    image = picture(3, 8, 8)
    image.save(tmp_path / "a.png")
    value = everything(Folder(path=tmp_path, size=8))[0].value
    assert np.array_equal(value.transpose(1, 2, 0), np.asarray(image))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    plain(tmp_path / "dot.png", (9, 8, 7), size=(1, 1))
    assert (everything(Folder(path=tmp_path, size=8))[0].value[2] == 7).all()


def test_a_large_jpeg_is_decoded_small_without_a_shift(tmp_path: Path) -> None:
    small = picture(1, 8, 8).resize((16, 16), Image.Resampling.BICUBIC)
    small.resize((640, 640), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=95)
    value = everything(Folder(path=tmp_path, size=16))[0].value.transpose(1, 2, 0)
    assert np.abs(value.astype(int) - np.asarray(small)).mean() < 8


def test_names_in_any_script_are_read(tmp_path: Path) -> None:
    for name in ("naïve", "猫", "صورة", "emoji 🐈"):
        plain(tmp_path / name / f"{name}.png", (1, 2, 3))
    source = Folder(path=tmp_path, size=8)
    assert set(source.train.conditions["label"].names) == {"naïve", "猫", "صورة", "emoji 🐈"}  # type: ignore[attr-defined]


def test_the_cache_changes_nothing(tmp_path: Path) -> None:
    tree(tmp_path)
    sources = [Folder(path=tmp_path, size=6, cache=cache) for cache in ("always", "never")]
    sources.append(Folder(path=tmp_path, size=6, cache_limit=10))
    for other in sources[1:]:
        assert all(
            np.array_equal(a.value, b.value) and a.condition == b.condition
            for a, b in zip(everything(sources[0]), everything(other), strict=True)
        )


def test_a_cached_set_needs_its_files_no_more_and_a_lazy_one_does(tmp_path: Path) -> None:
    tree(tmp_path)
    cached, lazy = Folder(path=tmp_path, size=6).train, Folder(path=tmp_path, size=6, cache="never").train
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    assert cached.gather([0, 1]).values.shape == (2, 3, 6, 6)
    with pytest.raises(DataError, match=r"'(cat|dog)/\d+\.png' cannot be read"):
        lazy[0]


# Bad pictures


def test_a_corrupt_picture_among_good_ones_is_left_out_with_one_warning(tmp_path: Path) -> None:
    tree(tmp_path, 40)
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    (tmp_path / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cat" / "text.png").write_text("hello")
    (tmp_path / "cat" / "empty.png").write_bytes(b"")
    (tmp_path / "cat" / "zzz.png").write_text("not shown")
    for cache in ("auto", "never"):
        with pytest.warns(UserWarning, match="4 of 44 pictures are bad") as seen:
            source = Folder(path=tmp_path, size=6, cache=cache)
        assert len(seen) == 1
        text = str(seen[0].message)
        assert all(name in text for name in ("cut.png", "text.png", "empty.png"))
        assert "zzz" not in text
        assert "\n" not in text
        assert len(everything(source)) == 40


def test_too_many_corrupt_pictures_are_an_error(tmp_path: Path) -> None:
    tree(tmp_path, 8)
    for index in range(2):
        (tmp_path / f"bad{index}.png").write_text("no")
    with pytest.raises(DataError, match=r"2 of 10 pictures are bad \(data\.max_bad_share=0\.1\).*bad0\.png"):
        Folder(path=tmp_path, size=6)
    with pytest.warns(UserWarning, match="2 of 10"):
        assert sum(size(Folder(path=tmp_path, size=6, max_bad_share=0.5))) == 8


def test_nothing_but_corrupt_pictures_is_an_error_at_any_share(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no")
    with pytest.raises(DataError, match="1 of 1"):
        Folder(path=tmp_path, size=6, max_bad_share=1)


def bomb(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(width // 8 + 1) * 10)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [9_000, 10_000, 40_000])
@pytest.mark.parametrize("check", [True, False])
def test_a_decompression_bomb_is_named_and_left_out(tmp_path: Path, side: int, check: bool) -> None:
    tree(tmp_path)
    bomb(tmp_path / "bomb.png", side, side)
    with pytest.warns(UserWarning, match=r"1 of 13 .*bomb\.png' has .*pixels") as seen:
        source = Folder(path=tmp_path, size=6, cache="never", check=check)
    assert len(seen) == 1
    assert sum(size(source)) == 12


def test_max_pixels_is_a_setting(tmp_path: Path) -> None:
    plain(tmp_path / "a.png", 0, "L", (20, 20))
    with pytest.raises(DataError, match=r"'a\.png' has 20 x 20 pixels, more than max_pixels=399"):
        Folder(path=tmp_path, size=6, max_pixels=399)


def test_formats_that_are_not_listed_are_not_opened(tmp_path: Path) -> None:
    tree(tmp_path)
    plain(tmp_path / "tiff.png", (1, 2, 3), format="TIFF")
    with pytest.warns(UserWarning, match=r"tiff\.png.*unknown format"):
        Folder(path=tmp_path, size=6)


def test_a_folder_without_pictures_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("none here")
    with pytest.raises(DataError, match=r"no pictures in it.*\.png") as error:
        Folder(path=tmp_path)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, r"data\.size=0"),
        ({"mode": "gray"}, r"data\.mode=gray: .*did you mean 'grey'"),
        ({"crop": "center"}, r"data\.crop=center: .*did you mean 'centre'"),
        ({"cache": "allways"}, r"data\.cache=allways: .*did you mean 'always'"),
        ({"background": "whit"}, r"data\.background=whit"),
        ({"max_bad_share": 2}, r"data\.max_bad_share=2"),
        ({"heldout": 1}, r"data\.heldout=1"),
        ({"classes": "species"}, r"data\.labels"),
    ],
)
def test_settings_are_checked(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Folder(path=tree(tmp_path), **settings)
    one_line(error)


def test_good_input_makes_no_noise(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Folder(path=tree(tmp_path), size=6)
        Digits()
