"""The decoders of sounds: round trips, levels, other people's files and gaps, WAV files with their record, pictures."""

from __future__ import annotations

import base64
import importlib
import io
import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from suffuse.conditions import Condition
from suffuse.data import Item, Split
from suffuse.errors import ConfigError, DataError, PluginError, RunError
from suffuse.fields import Field
from suffuse.state import State
from suffuse_audio.clips import Clip
from suffuse_audio.decoders import Mel, Stft, Waveform
from suffuse_audio.decoders.sound import SoundDecoder
from suffuse_audio.pair import load_torchaudio
from suffuse_audio.pictures import portrait, sheet
from suffuse_audio.wav import encode_wav, read_record, write_wav

RATE = 8000
EXACT = [Stft(), Stft(window=256, hop=64, exponent=0.33), Stft(window=60, hop=15, exponent=1.0), Waveform()]
ALL = [*EXACT, Mel()]
NAMES = ["stft", "stft-long", "stft-odd", "waveform", "mel"]


def tone(frequency: float = 440.0, *, seconds: float = 0.32, level: float = 0.5, rate: int = RATE) -> Tensor:
    """A decaying sine, ``[1, T]``."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (level * torch.sin(2 * math.pi * frequency * time) * torch.exp(-3 * time)).float()[None]


def hiss(channels: int, length: int, *, level: float = 0.1, seed: int = 0) -> Tensor:
    return level * torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def snr(truth: Tensor, found: Tensor) -> float:
    """Signal to noise in dB."""
    error = (truth - found).double().square().sum().clamp_min(1e-30)
    return float(10 * torch.log10(truth.double().square().sum() / error))


def there_and_back(decoder: SoundDecoder, samples: Tensor) -> Tensor:
    (clip,) = decoder.decode(decoder.encode([Clip(samples, decoder.rate)]))
    assert clip.rate == decoder.rate
    assert clip.samples.dtype == torch.float32
    return clip.samples


class Sounds(Split):
    def __init__(self, sounds: list[Tensor], rate: int = RATE) -> None:
        self.sounds, self.rate = sounds, rate
        self.conditions: Mapping[str, Condition] = {}

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> Item:
        return Item(Clip(self.sounds[index], self.rate), {})


@pytest.mark.parametrize("decoder", EXACT, ids=NAMES[:-1])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000, 5120])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_comes_back_exactly(decoder: SoundDecoder, length: int, channels: int) -> None:
    samples = hiss(channels, length)
    found = there_and_back(decoder, samples)
    assert found.shape[-1] - length < 64
    assert snr(samples, found[:, :length]) > 100
    assert not found[:, length:].numel() or found[:, length:].abs().max() < 1e-5, "silence after the end"


@pytest.mark.parametrize("decoder", EXACT, ids=NAMES[:-1])
def test_constants_and_the_highest_frequency_come_back(decoder: SoundDecoder) -> None:
    """0 Hz and half the rate share one bin; neither may be lost, and soft sounds not either."""
    alternating = 0.5 * (-1.0) ** torch.arange(640)
    for samples in (torch.full((1, 640), 0.3), alternating[None], alternating[None] + 0.3, hiss(1, 640, level=1e-4)):
        assert snr(samples, there_and_back(decoder, samples)[:, :640]) > 90


def test_a_lost_highest_frequency_is_noticed() -> None:
    decoder = Stft()
    samples = hiss(1, 6400)
    state = decoder.encode([Clip(samples, RATE)])
    state["spectrogram"][:, 1, 0] = 0
    assert snr(samples, decoder.decode(state)[0].samples) < 40


def test_silence_stays_silent_and_finite() -> None:
    for decoder in ALL:
        assert there_and_back(decoder, torch.zeros(1, 640)).abs().max() < 1e-4
    samples = torch.zeros(1, 640, requires_grad=True)
    Stft().analyse(samples[None]).sum().backward()  # type: ignore[no-untyped-call]
    assert samples.grad is not None
    assert samples.grad.isfinite().all()


def test_a_spectrogram_has_bins_of_frequency_and_frames_of_time() -> None:
    spectrogram = Stft().encode([Clip(tone(1000.0), RATE)])["spectrogram"]
    assert spectrogram.shape == (1, 2, 64, 40)
    strength = spectrogram.square().sum((0, 1))
    assert int(strength.sum(1).argmax()) == 1000 * 128 // RATE
    assert strength.sum(0)[:10].sum() > 2 * strength.sum(0)[-10:].sum()


def test_compression_takes_the_power_of_magnitudes_and_keeps_phases() -> None:
    samples = hiss(1, 6400)
    plain, bent = (Stft(exponent=e).encode([Clip(samples, RATE)])["spectrogram"][0, :, 1:] for e in (1.0, 0.5))
    loud, soft = plain.square().sum(0).sqrt(), bent.square().sum(0).sqrt()
    ratio = soft**2 / loud
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)
    assert float((plain / loud * bent / soft).sum(0).min()) > 0.999


def test_noise_has_the_same_spread_whatever_the_window_and_the_exponent() -> None:
    for settings in ({}, {"window": 256}, {"window": 512, "hop": 64, "exponent": 0.33}, {"exponent": 1.0}):
        values = Stft(**settings).encode([Clip(hiss(1, 80_000), RATE)])["spectrogram"]
        assert float(values.std()) == pytest.approx(1.25, rel=0.03)


@pytest.mark.parametrize("decoder", ALL, ids=NAMES)
def test_a_decoder_of_the_same_settings_reads_what_another_wrote(decoder: SoundDecoder) -> None:
    """A run is loaded from its configuration: nothing that was measured may be needed to decode."""
    sounds = [tone(300.0), tone(500.0, level=0.1)]
    fields = decoder.fields(Sounds(sounds))
    state = decoder.encode([Clip(s, RATE) for s in sounds])
    settings = {n: v for n, v in vars(decoder).items() if not n.startswith("_")}
    for clip, other in zip(decoder.decode(state), type(decoder)(**settings).decode(state), strict=True):
        assert torch.equal(clip.samples, other.samples)
    ((name, field),) = fields.items()
    assert field.shape == state[name].shape[1:]
    assert field.scale == pytest.approx(float(state[name].std(correction=0)), rel=1e-4)


def test_the_scale_of_silence_is_no_zero() -> None:
    assert Waveform().fields(Sounds([torch.zeros(1, 64)]))["waveform"].scale > 0
    with pytest.raises(DataError, match="training part"):
        Waveform().fields(Sounds([]))


def test_clips_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"decoder\.rate=8000, .* 16000 Hz"):
        Stft().encode([Clip(tone(), 16000)])
    with pytest.raises(DataError, match=r"\[1, 2560\] and of \[1, 64\]"):
        Stft().encode([Clip(tone(), RATE), Clip(tone()[:, :64], RATE)])


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Stft(window=100, hop=64), "decoder.window=100"),
        (lambda: Stft(window=64, hop=64), "decoder.window=64"),
        (lambda: Stft(window=45, hop=15), "decoder.window=45"),
        (lambda: Mel(window=128), "decoder.window=128"),
        (lambda: Mel(bands=64), "decoder.bands=64"),
        (lambda: Waveform(rate=0), "decoder.rate=0"),
    ],
)
def test_settings_that_do_not_fit_are_named(make: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make()


def test_log_mel_lies_between_floor_and_full_scale() -> None:
    decoder = Mel()
    quiet = decoder.encode([Clip(torch.zeros(1, 640), RATE)])["mel"]
    assert (quiet == -1).all()
    loud = decoder.encode([Clip(tone(1000.0, level=1.0), RATE)])["mel"]
    assert 0.8 < loud.max() < 1.1
    assert loud.shape == (1, 1, 48, 40)
    softer = decoder.encode([Clip(0.1 * tone(1000.0, level=1.0), RATE)])["mel"]
    heard = softer > -0.9
    torch.testing.assert_close((loud - softer)[heard], torch.full_like(loud[heard], 0.5), atol=1e-3, rtol=0)


def test_mel_comes_back_as_a_sound_with_the_same_mel() -> None:
    decoder = Mel()
    samples = tone(440.0) + hiss(1, 2560, level=0.05)
    before = decoder.encode([Clip(samples, RATE)])["mel"]
    found = there_and_back(decoder, samples)
    after = decoder.encode([Clip(found, RATE)])["mel"]
    heard = before > 0
    assert float((before - after)[heard].abs().mean()) * 40 < 2.0, "decibels"
    assert float(found.square().mean() / samples.square().mean()) == pytest.approx(1, abs=0.25)


def test_griffin_lim_depends_on_the_clip_alone() -> None:
    decoder = Mel(iterations=4)
    state = decoder.encode([Clip(tone(f), RATE) for f in (300.0, 500.0, 700.0)])
    torch.manual_seed(5)
    together = decoder.decode(state)
    (alone,) = decoder.decode(state.rows(slice(1, 2)))
    assert torch.equal(together[1].samples, alone.samples)
    first = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(1)), "torch's own generator is left alone"


@pytest.mark.parametrize("decoder", ALL, ids=NAMES)
def test_load_fits_any_sound_to_the_field(decoder: SoundDecoder, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    for channels, seconds in ((1, 3.0), (2, 3.0), (1, 0.2)):
        soundfile.write(path, tone(500.0, seconds=seconds, rate=44100).expand(2, -1).T.numpy(), 44100)
        sounds = Sounds([torch.zeros(channels, 5120)])
        clip = decoder.load(path, decoder.fields(sounds))
        assert clip.rate == RATE
        assert clip.length == pytest.approx(seconds * RATE, abs=1)
        length = clip.samples.shape[1]
        assert len(clip.samples) == channels
        least = max(5120, clip.length)
        assert least <= length < least + 64
        spectrum = np.abs(np.fft.rfft(clip.samples[0].numpy()))
        assert spectrum.argmax() * RATE / length == pytest.approx(500, abs=2)


def test_load_changes_nothing_of_a_clip_that_fits(tmp_path: Path) -> None:
    decoder = Stft(subtype="float")
    samples = hiss(1, 2560)
    decoder.save(Clip(samples, RATE), tmp_path / "a.wav", {})
    assert torch.equal(decoder.load(tmp_path / "a.wav", decoder.fields(Sounds([samples]))).samples, samples)
    longer = decoder.load(tmp_path / "a.wav", decoder.fields(Sounds([torch.zeros(1, 5120)]))).samples
    assert torch.equal(longer[:, :2560], samples)
    assert not longer[:, 2560:].any(), "silence after its end"


def test_load_names_what_cannot_be_read(tmp_path: Path) -> None:
    decoder, fields = Stft(), Stft().fields(Sounds([tone()]))
    with pytest.raises(DataError, match=r"none\.wav: there is no such file"):
        decoder.load(tmp_path / "none.wav", fields)
    with pytest.raises(DataError, match="a folder"):
        decoder.load(tmp_path, fields)
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(DataError, match=r"text\.wav"):
        decoder.load(tmp_path / "text.wav", fields)
    with pytest.raises(DataError, match="3 channels"):
        decoder.load(tmp_path / "none.wav", {"spectrogram": Field(shape=(6, 64, 4))})


GAP = {
    "gap.txt": "# a gap\n0.08 0.12\n",
    "gap.csv": "0.08,0.12",
    "gap.json": "[[0.08, 0.12]]",
}


@pytest.mark.parametrize("name", [*GAP, "gap.wav"])
def test_a_gap_marks_every_frame_that_it_touches(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    marked = np.zeros(2560, np.float32)
    marked[640:960] = 1
    if name in GAP:
        path.write_text(GAP[name])
    else:
        soundfile.write(path, marked, RATE)
    for decoder in ALL:
        fields = decoder.fields(Sounds([tone()]))
        unknown = decoder.load_mask(path, fields)[decoder.field]
        assert unknown.shape == (1, *fields[decoder.field].shape)
        assert unknown.dtype == torch.bool
        # What is known of the field says nothing of the samples in the gap.
        samples, other = hiss(1, 2560), hiss(1, 2560)
        other[:, 640:960] = 7
        one, two = (decoder.encode([Clip(x, RATE)])[decoder.field] for x in (samples, other))
        assert torch.equal(one[~unknown], two[~unknown])
        assert 0.1 < float(unknown.double().mean()) < 0.3


def test_a_gap_that_is_too_narrow_is_noticed() -> None:
    decoder = Stft()
    marks = torch.zeros(2560, dtype=torch.bool)
    marks[640:960] = True
    unknown = decoder.touched(marks, (2, 64, 40))
    assert int(unknown[0, 0].sum()) == 7, "five hops of gap, and the frames that reach in from both sides"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "marks nothing"),
        ("0.1", "pairs of seconds"),
        ("a b", "pairs of seconds"),
        ("0.2 0.1", "does not lie in the clip of 0.32 s"),
        ("5 6", "does not lie in the clip of 0.32 s"),
        ("-1 0.1", "does not lie in the clip"),
        ("nan 0.1", "does not lie in the clip"),
    ],
)
def test_a_gap_that_makes_no_sense_is_named(text: str, words: str, tmp_path: Path) -> None:
    decoder = Stft()
    path = tmp_path / "gap.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as error:
        decoder.load_mask(path, decoder.fields(Sounds([tone()])))
    assert "\n" not in str(error.value)
    assert "gap.txt" in str(error.value)


def test_a_mask_of_silence_and_one_that_is_missing_are_named(tmp_path: Path) -> None:
    fields = Stft().fields(Sounds([tone()]))
    soundfile.write(tmp_path / "none.wav", np.zeros(2560), RATE)
    with pytest.raises(DataError, match="marks nothing"):
        Stft().load_mask(tmp_path / "none.wav", fields)
    for name in ("gone.wav", "gone.txt"):
        with pytest.raises(DataError, match=name):
            Stft().load_mask(tmp_path / name, fields)


@pytest.mark.parametrize(
    ("subtype", "name", "step"), [("pcm16", "PCM_16", 2**-15), ("pcm24", "PCM_24", 2**-23), ("float", "FLOAT", 1e-12)]
)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_saved_file_carries_sound_and_record(
    subtype: Any, name: str, step: float, channels: int, tmp_path: Path
) -> None:
    record = {"run": "r1", "index": 3, "prompt": "été ✓", "digitalSourceType": "trainedAlgorithmicMedia", "n": "x" * 30}
    samples = hiss(channels, 101, level=0.2)
    path = tmp_path / "ünï code.wav"
    Waveform(subtype=subtype).save(Clip(samples, RATE), path, record)
    assert read_record(path) == record
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, channels, 101, name)
    found, _ = soundfile.read(path, always_2d=True)
    # The largest number of a PCM format is one step short of full scale.
    assert np.abs(found.T - samples.numpy()).max() < 1.6 * step
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_riff_structure_adds_up() -> None:
    """Sizes of all chunks sum to that of the file, for odd lengths too, and other programs find the comment."""
    for length in (0, 1, 7):
        data = encode_wav(np.zeros((1, length), np.float32), RATE, "pcm24", {"a": 1, "software": "suffuse 0"})
        assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
        assert len(data) % 2 == 0
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert json.loads(file.comment) == {"a": 1, "software": "suffuse 0"}
        assert file.software == "suffuse 0"


def test_a_peak_above_full_scale_is_scaled_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tone(level=1.0) / tone(level=1.0).abs().max() * 2
    Stft().save(Clip(samples, RATE), tmp_path / "loud.wav", {"run": "r"})
    line = "loud.wav: scaled by -6.02 dB, as the peak was 2; decoder.subtype=float keeps any level\n"
    assert capsys.readouterr().err == line
    found, _ = soundfile.read(tmp_path / "loud.wav")
    assert np.abs(found).max() == pytest.approx(1, abs=1e-3)
    assert snr(samples[0] / 2, torch.from_numpy(found).float()) > 80, "scaled, not clipped"
    assert read_record(tmp_path / "loud.wav")["limiter"] == "scaled by -6.02 dB, as the peak was 2"
    Stft().save(Clip(samples / 2, RATE), tmp_path / "fine.wav", {"run": "r"})
    assert read_record(tmp_path / "fine.wav") == {"run": "r"}
    joined = Clip(samples / 2, RATE, limiter="the part that was made was scaled by -3.00 dB, as its peak was 1.413")
    Stft().save(joined, tmp_path / "joined.wav", {"run": "r"})
    assert "joined.wav: the part that was made" in capsys.readouterr().err
    assert read_record(tmp_path / "joined.wav") == {"run": "r", "limiter": joined.limiter}
    Stft(subtype="float").save(Clip(samples, RATE), tmp_path / "float.wav", {"run": "r"})
    assert soundfile.read(tmp_path / "float.wav")[0].max() == pytest.approx(float(samples.max()))


def test_clipping_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"within \[-1, 1\]"):
        encode_wav(np.full((1, 4), 1.01, np.float32), RATE)


def test_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(RunError, match=r"a\.wav: .* not finite"):
            Stft(subtype="float").save(Clip(torch.full((1, 9), value), RATE), tmp_path / "a.wav", {})
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_record_says_so(tmp_path: Path) -> None:
    plain = tmp_path / "plain.wav"
    write_wav(np.zeros((1, 8), np.float32), RATE, plain)
    with pytest.raises(DataError, match="no provenance record"):
        read_record(plain)
    with pytest.raises(DataError, match=r"none\.wav: cannot be read"):
        read_record(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(DataError, match="is no WAV file"):
        read_record(tmp_path / "text.wav")
    whole = encode_wav(np.zeros((1, 8), np.float32), RATE, record={"a": 1})
    (tmp_path / "broken.wav").write_bytes(whole.replace(b'{"a": 1}', b'{"a": 1 '))
    with pytest.raises(DataError, match="damaged"):
        read_record(tmp_path / "broken.wav")


def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    Stft().save(Clip(tone(), RATE), path, {"old": True})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"a\.wav: cannot be written \(No space left"):
        Stft().save(Clip(tone(), RATE), path, {"old": False})
    assert read_record(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_html_plays_the_sound_and_shows_it() -> None:
    fragment = Stft().html(Clip(tone(), RATE))
    sources = re.findall(r'src="data:([a-z/]+);base64,([^"]+)"', fragment)
    assert [kind for kind, _ in sources] == ["image/png", "audio/wav"]
    assert fragment.count("src=") == 2, "nothing outside of the fragment is needed"
    assert "<script" not in fragment
    picture, sound = (io.BytesIO(base64.b64decode(data)) for _, data in sources)
    with Image.open(picture) as image:
        assert image.size == (160, 124)
    samples, rate = soundfile.read(sound)
    assert rate == RATE
    assert snr(tone()[0], torch.from_numpy(samples).float()) > 70
    assert len(fragment) < 30_000


def test_html_and_pictures_take_noise_silence_and_what_is_not_finite() -> None:
    for samples in (1e4 * hiss(2, 2000), torch.zeros(1, 1), torch.full((1, 300), math.nan), torch.zeros(1, 0)):
        assert "audio" in Stft().html(Clip(samples, RATE))


def test_a_portrait_shows_pitch_and_time() -> None:
    """A high tone is bright near the top, a low one near the bottom, and a late sound to the right."""
    pictures = {}
    for name, frequency in (("low", 500.0), ("high", 3500.0)):
        level = np.asarray(portrait(Clip(tone(frequency, seconds=0.64), RATE)))[36:]
        pictures[name] = level
    assert pictures["high"].sum(1).argmax() < 20
    assert pictures["low"].sum(1).argmax() > 68
    late = torch.cat([torch.zeros(1, 4000), tone(1000.0, seconds=0.1)], 1)
    columns = np.asarray(portrait(Clip(late, RATE))).sum(0)
    assert columns[:120].sum() < 0.2 * columns[130:].sum() + 120 * 36


def test_a_sheet_puts_equal_captions_together(tmp_path: Path) -> None:
    clips = [Clip(tone(f), RATE) for f in (200.0, 400.0, 800.0, 1600.0)]
    Stft().sheet(clips, ["a", "b", "a", "b"], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        width, height = image.size
    assert width == 2 * 24 + 2 * 160 + 10
    assert height > 2 * 124
    rows = np.asarray(sheet(clips, ["a", "b", "a", "b"]).convert("L"))
    first, second = rows[24:148, 24:184], rows[24:148, 194:354]
    direct = [np.asarray(portrait(clips[i]).convert("RGB").convert("L")) for i in (0, 2)]
    assert np.array_equal(first, direct[0])
    assert np.array_equal(second, direct[1])
    with pytest.raises(ValueError, match="one caption for each"):
        sheet(clips, ["a"])
    with pytest.raises(DataError, match="cannot be written"):
        Stft().sheet(clips, [""] * 4, tmp_path / "no" / "sheet.png")


def test_a_torchaudio_that_does_not_load_names_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise OSError("libc10_cuda.so:\n cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(PluginError) as error:
        load_torchaudio("decoder=mel")
    message = str(error.value)
    assert "\n" not in message
    assert re.search(r'decoder=mel .* "torch==[\d.]+" "torchaudio==[\d.]+"$', message), message

    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(PluginError, match=r'pip install "suffuse\[audio\]"'):
        load_torchaudio("decoder=mel")


def test_states_may_lie_on_another_device_or_need_gradients() -> None:
    state = Stft().encode([Clip(tone(), RATE)])
    values = state["spectrogram"].clone().requires_grad_()
    (clip,) = Stft().decode(State({"spectrogram": values}))
    assert not clip.samples.requires_grad
