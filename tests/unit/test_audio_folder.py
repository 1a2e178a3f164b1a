"""Folders of sounds of every kind, good and bad."""

from __future__ import annotations

import io
import pickle
import shutil
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_files import RATE, clips, encoded, everything, folder, one_line, raw_wav, size, tone, tree, write
from numpy.typing import NDArray

from suffuse.errors import ConfigError, DataError
from suffuse_audio.data import library, recording
from suffuse_audio.data.recording import Facts, Preparation
from suffuse_audio.data.resampling import Ratio
from suffuse_audio.data.truncation import missing_bytes
from suffuse_audio.decoders.opening import open_sound

# Sounds


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"format": "WAV", "subtype": "PCM_16"}),
        ("a.WAV", {"format": "WAV", "subtype": "PCM_U8"}),
        ("b.wav", {"format": "WAV", "subtype": "PCM_24"}),
        ("c.wav", {"format": "WAV", "subtype": "FLOAT"}),
        ("d.wav", {"format": "RF64", "subtype": "PCM_16"}),
        ("a.flac", {"format": "FLAC"}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", {"format": "MP3"}),
        ("a.aiff", {"format": "AIFF", "subtype": "PCM_16"}),
    ],
)
def test_every_format_is_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    sound = tone(seconds=0.5)
    write(tmp_path / "s" / name, sound, **options)
    (clip,) = clips(folder(tmp_path / "s", level="none", seconds=0.5))
    assert clip.samples.dtype == torch.float32
    assert clip.rate == RATE
    inner = slice(400, 3600)
    found = clip.samples[0, inner].numpy()
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)), 1 << 15))
    assert np.argmax(spectrum) * RATE / (1 << 15) == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_short_sounds_are_padded_and_their_length_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "s" / "short.wav", tone(seconds=0.1))
    write(tmp_path / "s" / "whole.wav", tone(seconds=0.2))
    write(tmp_path / "s" / "long.wav", tone(seconds=0.3))
    by_length = {clip.length: clip for clip in clips(folder(tmp_path / "s", seconds=0.2, level="none"))}
    assert sorted(by_length) == [800, 1600]
    short = by_length[800]
    assert short.valid == 800
    assert short.samples.shape == (1, 1600)
    assert not short.samples[:, 800:].any()
    assert np.allclose(short.sound[0], tone(seconds=0.1), atol=1e-4)
    assert by_length[1600].valid is None


def test_mixed_rates_and_channels_come_out_as_one(tmp_path: Path) -> None:
    for rate in (8000, 11025, 16000, 22050, 44100, 48000, 96000, 17959):
        stereo = np.stack([tone(rate=rate, seconds=0.6)] * 2, 1)
        write(tmp_path / "s" / f"{rate}.flac", stereo, rate, format="FLAC")
    for channels in (1, 2):
        found = clips(folder(tmp_path / "s", seconds=0.5, level="none", channels=channels))
        assert len(found) == 8
        for clip in found:
            assert clip.samples.shape == (channels, 4000)
            wanted = tone(seconds=0.5)[200:-200]
            assert np.abs(clip.samples[:, 200:-200].numpy() - wanted).max() < 0.01


def test_resampling_lets_nothing_fold_back(tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.wav", tone(7000, seconds=0.5, rate=48000) + tone(500, seconds=0.5, rate=48000), 48000)
    (clip,) = clips(folder(tmp_path / "s", seconds=0.5, level="none"))
    assert np.abs(clip.samples[0, 200:-200].numpy() - tone(500, seconds=0.5)[200:-200]).max() < 0.005


def surveyed(preparation: Preparation, path: str) -> tuple[Facts, NDArray[np.float32]]:
    """What is known of a file of one channel, and all its samples."""
    kept = io.BytesIO()
    facts = preparation.survey(path, "a.wav", kept)
    return facts, np.frombuffer(kept.getvalue(), np.float32).reshape(1, -1)


@pytest.mark.parametrize("source", [8000, 16000, 44100, 48000, 11025, 4000, 17959, 96000])
def test_a_part_is_a_part_of_the_whole(tmp_path: Path, source: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, source).astype(np.float32)
    path = str(write(tmp_path / "a.wav", samples, source, subtype="FLOAT"))
    preparation = Preparation(RATE, 1)
    facts, whole = surveyed(preparation, path)
    assert whole.shape == (1, facts.frames)
    assert facts.frames == pytest.approx(RATE, abs=1)
    for start, count in ((0, 100), (777, 1500), (3999, 1), (facts.frames - 5, 100)):
        part = preparation.read(path, "a.wav", facts, start, count)
        assert part.shape[1] == min(count, facts.frames - start)
        assert np.allclose(part, whole[:, start : start + count], atol=2e-6)


def test_a_part_without_margin_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44100).astype(np.float32)
    path = str(write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT"))
    preparation = Preparation(RATE, 1)
    facts, whole = surveyed(preparation, path)
    plain = Ratio.span
    monkeypatch.setattr(
        Ratio, "span", lambda self, start, count: (self.down * (start // self.up), *plain(self, start, count)[1:])
    )
    part = preparation.read(path, "a.wav", facts, 777, 500)
    assert part.shape != (1, 500) or not np.allclose(part, whole[:, 777:1277], atol=1e-3)


def test_odd_ratios_are_quantised() -> None:
    for source in range(7900, 8100):
        ratio = Ratio(source, RATE)
        assert max(ratio.up, ratio.down) <= 480
        assert abs(1200 * np.log2(ratio.up / ratio.down * source / RATE)) < 2  # cents
    assert (Ratio(44100, 48000).up, Ratio(44100, 48000).down) == (160, 147)


def test_pieces_of_a_long_file_fit_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, 65 * 11025).astype(np.float32)
    path = str(write(tmp_path / "a.wav", samples, 11025, subtype="FLOAT"))
    facts, whole = surveyed(Preparation(RATE, 1), path)
    assert facts.peaks is not None
    assert len(facts.peaks) == 650
    part = Preparation(RATE, 1).read(path, "a.wav", facts, 30 * RATE - 100, 200)  # over the seam of two pieces
    assert np.allclose(whole[:, 30 * RATE - 100 : 30 * RATE + 100], part, atol=2e-6)


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_samples_that_wait_on_disk_are_those_that_wait_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    """With an offset, which is taken off between the two, and pieces that do not end where the file does."""
    monkeypatch.setattr(library, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(library, "_PIECE", 1000)
    sound = tone(seconds=0.5) + 0.1
    write(tmp_path / "s" / "a.wav", sound)
    (clip,) = clips(folder(tmp_path / "s", seconds=0.5, level="none", cache="always"))
    assert np.allclose(clip.samples[0], sound - sound.mean(), atol=1e-4)


def test_channels_that_cancel_are_noticed(tmp_path: Path) -> None:
    sound = tone(seconds=0.5)
    write(tmp_path / "s" / "good.wav", np.stack([sound, sound], 1))
    write(tmp_path / "s" / "wired.wav", np.stack([sound, -sound], 1))
    with pytest.warns(UserWarning, match=r"channels of 1 of 2 sounds cancel.*'wired\.wav'"):
        source = folder(tmp_path / "s", seconds=0.5, level="none")
    assert all(np.allclose(clip.samples[0], sound, atol=1e-3) for clip in clips(source))


def test_an_offset_is_taken_off(tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.wav", 0.4 * tone(seconds=0.5) + 0.5)
    for cache in ("always", "never"):
        (clip,) = clips(folder(tmp_path / "s", seconds=0.5, level="none", cache=cache))
        assert abs(float(clip.samples.mean())) < 1e-4


@pytest.mark.parametrize(("level", "target"), [("peak", 0.95), ("rms", 0.1)])
def test_levels_are_evened(tmp_path: Path, level: str, target: float) -> None:
    for index, gain in enumerate((0.02, 0.1, 0.9)):
        write(tmp_path / "s" / f"{index}.wav", tone(seconds=0.5, level=gain), subtype="FLOAT")
    for clip in clips(folder(tmp_path / "s", seconds=0.7, level=level)):
        found = clip.sound.abs().max() if level == "peak" else clip.sound.square().mean().sqrt()
        assert float(found) == pytest.approx(target, rel=0.01)
        assert not clip.samples[:, clip.length :].any()


def test_a_level_never_clips_and_a_gain_has_its_limit(tmp_path: Path) -> None:
    click = np.zeros(4000, np.float32)
    click[100:110] = 0.5
    write(tmp_path / "s" / "click.wav", click)
    assert float(clips(folder(tmp_path / "s", seconds=0.5))[0].samples.abs().max()) <= 0.9501
    write(tmp_path / "q" / "quiet.wav", tone(level=0.002), subtype="FLOAT")
    (clip,) = clips(folder(tmp_path / "q", seconds=0.3, level="peak", max_gain=20))
    assert float(clip.samples.abs().max()) == pytest.approx(0.02, rel=0.01)


def test_names_in_any_script_and_with_newlines_are_read(tmp_path: Path) -> None:
    for name in ("naïve", "猫", "two\nlines", "emoji 🐈"):
        write(tmp_path / "s" / name / f"{name}.wav", tone())
    (tmp_path / "s" / "two\nlines" / "bad\nname.wav").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 5") as seen:
        source = folder(tmp_path / "s", max_bad_share=0.5, heldout=0)
    assert all("\n" not in str(warning.message) for warning in seen)
    assert set(source.train.conditions["label"].names) == {"naïve", "猫", "two\nlines", "emoji 🐈"}  # type: ignore[attr-defined]


def test_bytes_that_are_no_text_may_be_a_name(tmp_path: Path) -> None:
    tree(tmp_path / "s", 3)
    try:
        Path(bytes(tmp_path / "s").decode() + "/caf\udce9.wav").write_bytes(encoded(tone(), format="WAV"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.warns(UserWarning, match="1 of 4 have no 'label'"):
        assert sum(size(folder(tmp_path / "s"))) == 4


def test_a_zip_archive_is_a_folder(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in sorted((tmp_path / "s").rglob("*.wav")):
            archive.write(path, path.relative_to(tmp_path / "s"))
        archive.writestr("__MACOSX/._1.wav", b"no")
    for cache in ("always", "never"):
        plain, packed = folder(tmp_path / "s", cache=cache), folder(tmp_path / "s.zip", cache=cache)
        same(plain, packed)
        if cache == "never":
            assert torch.equal(pickle.loads(pickle.dumps(packed.train))[0].value.samples, packed.train[0].value.samples)


def same(one: Any, other: Any, tolerance: float = 0.0) -> None:
    """Two sources have the same items."""
    for a, b in zip(everything(one), everything(other), strict=True):
        assert a.condition == b.condition
        assert a.value.valid == b.value.valid
        assert torch.allclose(a.value.samples, b.value.samples, rtol=0, atol=tolerance)


# The cache


def test_the_cache_changes_nothing_but_the_last_bits(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    write(tmp_path / "s" / "low" / "faint.wav", tone(level=0.003), subtype="FLOAT")
    cached, lazy = (folder(tmp_path / "s", level="none", cache=cache) for cache in ("always", "never"))
    same(cached, lazy, 1e-4)
    faint = min(zip(clips(cached), clips(lazy), strict=True), key=lambda pair: float(pair[1].samples.abs().max()))
    assert float((faint[0].samples - faint[1].samples).abs().max()) < 1e-6  # each file has the scale of its own peak


def test_the_cache_is_used_again_and_made_anew_when_files_change(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    first = folder(tmp_path / "s")
    (place,) = (tmp_path / "cache").iterdir()
    stamp = (place / "samples.i16").stat().st_mtime_ns
    same(first, folder(tmp_path / "s"))
    assert (place / "samples.i16").stat().st_mtime_ns == stamp
    write(tmp_path / "s" / "low" / "0.wav", tone(999, seconds=0.2))
    changed = folder(tmp_path / "s")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert min(clip.length for clip in clips(changed)) == 1600


@pytest.mark.parametrize("damage", ["samples.i16", "index.json", "peaks.npy"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    tree(tmp_path / "s")
    first = folder(tmp_path / "s")
    whole = [item.value.samples.clone() for item in everything(first)]
    (place,) = (tmp_path / "cache").iterdir()
    (place / damage).write_bytes((place / damage).read_bytes()[:-30])
    again = [item.value.samples for item in everything(folder(tmp_path / "s"))]
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [place.name]


def test_a_kept_set_needs_its_files_no_more_and_a_lazy_one_does(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    kept, lazy = (folder(tmp_path / "s", cache=cache).train for cache in ("always", "never"))
    shutil.rmtree(tmp_path / "s")
    assert len(kept.gather([0, 1]).values) == 2
    with pytest.raises(DataError, match=r"'(low|high)/\d+\.wav' cannot be read") as error:
        lazy[0]
    one_line(error)


def test_what_does_not_fit_is_read_each_time(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    same(folder(tmp_path / "s", cache_limit=10), folder(tmp_path / "s", cache="never"))
    assert not list((tmp_path / "cache").glob("*/samples.i16")) or all(
        not path.stat().st_size for path in (tmp_path / "cache").glob("*/samples.i16")
    )


def test_a_folder_of_caches_that_cannot_be_is_told(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match=r"data\.cache_dir=.*cannot be written.*read anew"):
        source = folder(tmp_path / "s", cache_dir=tmp_path / "file")
    same(source, folder(tmp_path / "s", cache="never"))
    with pytest.raises(DataError, match=r"data\.cache_dir=.*cannot be written") as error:
        folder(tmp_path / "s", cache_dir=tmp_path / "file", cache="always")
    one_line(error)


@pytest.mark.parametrize("cache", ["always", "never"])
def test_a_split_can_be_sent_to_workers(tmp_path: Path, cache: str) -> None:
    split = folder(tree(tmp_path / "s"), cache=cache).train
    split[0]
    data = pickle.dumps(split)
    assert len(data) < 20_000
    assert torch.equal(pickle.loads(data)[3].value.samples, split[3].value.samples)


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_a_read_that_fails_is_tried_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    split = folder(tree(tmp_path / "s"), cache="never").train
    whole, left = recording._frames, [failures]

    def frail(file: Any, name: str, start: int, count: int) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise DataError(f"{name!r} cannot be read (the network is down)")
        return whole(file, name, start, count)

    monkeypatch.setattr(recording, "_frames", frail)
    if failures < 3:
        assert split[0].value.samples.any()
    else:
        with pytest.raises(DataError, match=r"\.wav' cannot be read \(the network is down\)"):
            split[0]


# Windows


def test_random_windows_are_a_function_of_their_generators(tmp_path: Path) -> None:
    ramp = np.linspace(-0.9, 0.9, 20000, dtype=np.float32)
    write(tmp_path / "s" / "a.wav", ramp, subtype="FLOAT")
    write(tmp_path / "s" / "b.wav", ramp[::-1], subtype="FLOAT")
    for cache in ("always", "never"):
        split = folder(tmp_path / "s", seconds=0.1, crop="random", level="none", cache=cache).train
        assert len(split) == 25  # as many as fit
        indices = [3] * 40
        drawn, again = (
            split.gather(indices, [np.random.default_rng(seed) for seed in range(40)]).values for _ in range(2)
        )
        assert all(torch.equal(a.samples, b.samples) for a, b in zip(drawn, again, strict=True))
        starts = torch.tensor([float(clip.samples[0, 0]) for clip in drawn])
        assert len(starts.unique()) > 30
        assert starts.max() - starts.min() > 1
        steps = torch.stack([clip.samples[0].diff() for clip in drawn])
        assert torch.allclose(steps, steps[0, 0], atol=1e-4)  # each is one stretch of the ramp
        assert torch.equal(split[3].value.samples, split.gather([3]).values[0].samples)


def test_windows_of_silence_are_left_out_and_not_drawn(tmp_path: Path) -> None:
    pauses = np.zeros(16000, np.float32)
    pauses[4000:8000] = tone(seconds=0.5)
    write(tmp_path / "s" / "a.wav", pauses)
    write(tmp_path / "s" / "b.wav", pauses)
    with pytest.warns(UserWarning, match=r"6 of 8 stretches of silence|3 of 4 stretches of silence"):
        source = folder(tmp_path / "s", seconds=0.5, crop="random", level="none")
    values = source.train.gather([0] * 30, [np.random.default_rng(seed) for seed in range(30)]).values
    assert all(float(clip.samples.abs().max()) > 1e-3 for clip in values)
    assert all(float(clip.samples.abs().max()) > 0.4 for clip in clips(source))


def test_silence_before_the_sound_is_passed_over(tmp_path: Path) -> None:
    late = np.concatenate([np.zeros(8000, np.float32), tone(seconds=0.3)])
    write(tmp_path / "s" / "late.wav", late)
    (clip,) = clips(folder(tmp_path / "s", seconds=0.5, level="none"))
    assert np.allclose(clip.sound[0], tone(seconds=0.3), atol=1e-3)


# Bad sounds

WHOLE = encoded(tone(seconds=1.0), format="WAV", subtype="PCM_16")
MP3 = encoded(tone(seconds=2.0), format="MP3")
STREAM = 0xFFFFFFFF

BAD = {
    "empty": (b"", "is an empty file"),
    "cut.wav": (WHOLE[: len(WHOLE) // 2], "cut short"),
    "cut.aiff": (encoded(tone(seconds=1.0), format="AIFF", subtype="PCM_16")[:9000], "cut short"),
    "cut.flac": (encoded(tone(seconds=1.0), format="FLAC")[:3000], "not a readable sound"),
    "cut.ogg": (encoded(tone(seconds=3.0), format="OGG", subtype="VORBIS")[:-700], "cut short"),
    "cut.mp3": (MP3[: len(MP3) // 2], "cut short"),
    "lie": (raw_wav(size=1_000_000), "cut short"),
    "header alone": (raw_wav(b""), "holds no samples"),
    "no length": (raw_wav(size=0), "holds no samples"),
    "rate of 0": (raw_wav(rate=0), "not a readable sound"),
    "rate of 2^31": (raw_wav(rate=2**31), "not a readable sound"),
    "rate of 2^31 - 1": (raw_wav(rate=2**31 - 1), "2147483647 samples a second"),
    "rate of 1": (raw_wav(rate=1), "1 samples a second"),
    "no channels": (raw_wav(channels=0), "not a readable sound"),
    "65535 channels": (raw_wav(channels=65535, bits=8), "not a readable sound"),
    "1000 channels": (raw_wav(bytes(6000), channels=1000), "1000 channels"),
    "text": (b"this is a text\n", "not a readable sound"),
    "NaN": (encoded(np.where(np.arange(999) == 500, np.nan, 0.1), format="WAV", subtype="FLOAT"), "not numbers"),
    "Inf": (encoded(np.where(np.arange(999) == 500, -np.inf, 0.1), format="WAV", subtype="FLOAT"), "not numbers"),
    "loud": (encoded(tone(level=20000.0), format="WAV", subtype="FLOAT"), "full scale is 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_among_good_ones_is_left_out_with_one_warning(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    tree(tmp_path / "s")
    (tmp_path / "s" / "low" / (name if "." in name else f"{name}.wav")).write_bytes(content)
    for cache in ("always", "never"):
        with pytest.warns(UserWarning, match=rf"1 of 13 sounds are bad and left out: .*{message}") as seen:
            source = folder(tmp_path / "s", cache=cache)
        assert len(seen) == 1
        assert "\n" not in str(seen[0].message)
        assert name in str(seen[0].message)
        assert sum(size(source)) == 12


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sound_as_an_input_is_one_line(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = tmp_path / f"a\nb {name}.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        open_sound(path, RATE, 1, 800)
    assert str(path)[-5:] in one_line(error)


def test_good_files_with_odd_headers_are_taken(tmp_path: Path) -> None:
    pcm = (tone(seconds=0.5) * 32767).astype("<i2").tobytes()
    for name, content in {
        "stream.wav": raw_wav(pcm, size=STREAM),
        "espeak.wav": raw_wav(pcm, size=0x7FFFF000),
        "padded.wav": raw_wav(pcm) + b"LIST\4\0\0\0INFO",
        "odd.wav": raw_wav(pcm + b"\0"),
    }.items():
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / name).write_bytes(content)
    assert len(clips(folder(tmp_path / "s"))) == 4


def test_truncation_is_told_of_every_kind_of_header() -> None:
    sound = tone(seconds=1.0)
    for options in (
        {"format": "WAV"},
        {"format": "WAV", "endian": "BIG"},
        {"format": "RF64"},
        {"format": "AIFF"},
        {"format": "OGG", "subtype": "VORBIS"},
    ):
        whole = encoded(sound, **options)
        assert missing_bytes(io.BytesIO(whole)) == 0, options
        for cut in (2, len(whole) // 2, len(whole) - 60):
            assert missing_bytes(io.BytesIO(whole[:-cut])) > 0 or len(whole) - cut < 80, (options, cut)
    assert missing_bytes(io.BytesIO(encoded(sound, format="FLAC")[:100])) == 0
    assert missing_bytes(io.BytesIO(b"RIFF")) == 0
    loop = b"RIFF" + struct.pack("<I", 4) + b"WAVE" + b"junk\0\0\0\0" * 5000
    assert missing_bytes(io.BytesIO(loop)) == 0


@pytest.mark.parametrize(
    "sound", [np.zeros(4000), np.full(4000, 0.9999), np.full(4000, 1e-5)], ids=["zeros", "full-scale DC", "faint"]
)
def test_silence_is_left_out_and_counted(tmp_path: Path, sound: Any) -> None:
    tree(tmp_path / "s")
    write(tmp_path / "s" / "low" / "nothing.wav", sound)
    for cache in ("always", "never"):
        with pytest.warns(UserWarning, match=r"1 of 13 sounds are silent .*'low/nothing\.wav'") as seen:
            source = folder(tmp_path / "s", cache=cache)
        assert len(seen) == 1
        assert sum(size(source)) == 12
    write(tmp_path / "z" / "a.wav", sound)
    with pytest.raises(DataError, match=r"1 of 1 sounds are silent .*no other is left") as error:
        folder(tmp_path / "z")
    one_line(error)


def test_too_many_bad_sounds_are_an_error(tmp_path: Path) -> None:
    tree(tmp_path / "s", 8)
    for index in range(2):
        (tmp_path / "s" / f"bad{index}.wav").write_text("no")
    with pytest.raises(DataError, match=r"2 of 10 sounds are bad \(data\.max_bad_share=0\.1\).*bad0\.wav") as error:
        folder(tmp_path / "s")
    one_line(error)
    with pytest.warns(UserWarning, match="2 of 10"):
        assert sum(size(folder(tmp_path / "s", max_bad_share=0.5))) == 8
    shutil.rmtree(tmp_path / "s" / "low")
    shutil.rmtree(tmp_path / "s" / "high")
    with pytest.raises(DataError, match="2 of 2"):
        folder(tmp_path / "s", max_bad_share=1)


def test_headers_alone_find_less_and_reading_finds_the_rest(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    (tmp_path / "s" / "low" / "cut.wav").write_bytes(WHOLE[:-1000])
    (tmp_path / "s" / "low" / "nan.wav").write_bytes(BAD["NaN"][0])
    with pytest.warns(UserWarning, match=r"1 of 14 .*cut\.wav"):
        source = folder(tmp_path / "s", cache="never", check=False)
    assert sum(size(source)) == 13
    with pytest.raises(DataError, match=r"nan\.wav' holds samples that are not numbers") as error:
        everything(source)
    one_line(error)


def test_a_folder_without_sounds_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("none here")
    with pytest.raises(DataError, match=r"no sounds in it.*\.wav") as error:
        folder(tmp_path)
    assert str(tmp_path) in one_line(error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0}, r"data\.rate=0"),
        ({"seconds": 0}, r"data\.seconds=0"),
        ({"channels": 5}, r"data\.channels=5"),
        ({"crop": "rnadom"}, r"data\.crop=rnadom: .*did you mean 'random'"),
        ({"level": "rsm"}, r"data\.level=rsm: .*did you mean 'rms'"),
        ({"silence": 3}, r"data\.silence=3"),
        ({"max_gain": -1}, r"data\.max_gain=-1"),
        ({"cache": "allways"}, r"data\.cache=allways: .*did you mean 'always'"),
        ({"max_bad_share": 2}, r"data\.max_bad_share=2"),
        ({"heldout": 1}, r"data\.heldout=1"),
        ({"pattern": "("}, r"data\.pattern=\(: not a regular expression"),
        ({"file_column": "x"}, r"data\.labels"),
        ({"classes": "speeker"}, r"speeker"),
    ],
)
def test_settings_are_checked(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        folder(tree(tmp_path / "s"), **settings)
    one_line(error)


def test_good_input_makes_no_noise(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder(tree(tmp_path / "s"))
