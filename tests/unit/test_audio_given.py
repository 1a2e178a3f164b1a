"""What a network is given of a sound: the fields, the networks that read them, and how made sound joins known sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from suffuse.conditions import Condition
from suffuse.data import Item, Split
from suffuse.denoiser import Denoiser
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.plugins import Registry
from suffuse.processes import Gaussian, JointProcess
from suffuse.schedules import EDM
from suffuse.state import State
from suffuse.warps import Frozen
from suffuse_audio.backbones import DiT1D, UNet1D, UNet2D
from suffuse_audio.clips import Clip
from suffuse_audio.decoders import Stft, Waveform
from suffuse_audio.decoders.given import LowBand
from suffuse_audio.decoders.joining import join
from suffuse_audio.wav import encode_wav

RATE = 8000
LENGTH = 2560
DIM = 16
GIVEN = pytest.mark.parametrize("given", ["mel", "low"])


def hiss(length: int = LENGTH, *, level: float = 0.1, seed: int = 0, channels: int = 1) -> Tensor:
    return level * torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def sine(frequency: float, length: int = LENGTH, *, level: float = 0.4) -> Tensor:
    return (level * torch.sin(2 * math.pi * frequency * torch.arange(length) / RATE))[None]


def encode(decoder: Stft, *sounds: Tensor) -> State:
    return decoder.encode([Clip(sound, RATE) for sound in sounds])


class Sounds(Split):
    def __init__(self, *sounds: Tensor) -> None:
        self.sounds = sounds
        self.conditions: Mapping[str, Condition] = {}

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> Item:
        return Item(Clip(self.sounds[index], RATE), {})


# Fields ------------------------------------------------------------------------------------------------------------


@GIVEN
@pytest.mark.parametrize("length", [1, 64, 1000, LENGTH])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_given_field_changes_nothing_of_the_sound(given: Any, length: int, channels: int) -> None:
    samples = hiss(length, channels=channels)
    plain, more = encode(Stft(), samples), encode(Stft(given=given), samples)
    assert list(more) == ["spectrogram", given]
    assert torch.equal(plain["spectrogram"], more["spectrogram"])
    assert more[given].shape[-1] == more["spectrogram"].shape[-1], "the same frames"
    (before,), (after,) = Stft().decode(plain), Stft(given=given).decode(more)
    assert torch.equal(before.samples, after.samples)
    assert torch.equal(after.samples, Stft(given=given).decode(more.replace(**{given: 7 + more[given]}))[0].samples)


@GIVEN
def test_given_fields_say_so_and_are_measured(given: Any) -> None:
    sounds = (hiss(), sine(300.0), sine(1200.0, level=0.05))
    fields = Stft(given=given).fields(Sounds(*sounds))
    assert {name: field.given for name, field in fields.items()} == {"spectrogram": False, given: True}
    values = encode(Stft(given=given), *sounds)
    for name, field in fields.items():
        assert field.shape == tuple(values[name].shape[1:])
        assert field.scale == pytest.approx(float(values[name].std(correction=0)), rel=1e-4)
    assert list(Stft().fields(Sounds(*sounds))) == ["spectrogram"]


def test_an_unknown_given_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.given=mell"):
        Registry().build("decoder", {"name": "stft", "given": "mell"}, plugin="audio")


@pytest.mark.parametrize("settings", [{}, {"window": 256}, {"window": 60, "hop": 15}, {"exponent": 1.0}])
def test_the_low_band_has_nothing_above(settings: dict[str, Any]) -> None:
    decoder = Stft(given="low", **settings)
    low = encode(decoder, hiss())["low"]
    rows = low.shape[2]
    assert not low[:, :, math.ceil(rows / 2) :].any()
    assert not low[:, 1, 0].any(), "the highest frequency lies in the lowest row"
    assert low[:, :, 1 : rows // 3].abs().mean() > 0.1


def test_the_low_band_does_not_depend_on_what_lies_above() -> None:
    decoder = Stft(given="low")
    below, above = sine(700.0), sine(2600.0)
    one, two = (encode(decoder, sound) for sound in (below, below + above))
    # Inside of the clip: at its borders a tone begins and ends, which sounds at all frequencies.
    assert (one["low"] - two["low"])[..., 3:-3].abs().max() < 0.15
    assert (one["spectrogram"] - two["spectrogram"])[..., 3:-3].abs().max() > 2


def test_a_low_band_that_was_not_filtered_is_noticed() -> None:
    """Without the filter, what lies just above half the band leaks into the rows below."""
    decoder = Stft(given="low")

    def leak(make: Callable[[Tensor], Tensor]) -> float:
        return float(make(sine(2200.0)[None])[..., 3:-3].abs().max())

    def cut(samples: Tensor) -> Tensor:
        values = decoder.analyse(samples)
        values[:, :, values.shape[2] // 2 :] = 0
        return values

    assert leak(LowBand(decoder.analyse)) < 0.1
    assert leak(cut) > 0.3


def test_what_lies_well_below_the_edge_stays_in_the_low_band() -> None:
    state = encode(Stft(given="low"), sine(1000.0))
    low, all_ = state["low"][..., 3:-3], state["spectrogram"][..., 3:-3]
    assert (low - all_)[:, :, :30].abs().max() < 0.02 * all_.abs().max()


def test_mel_knows_levels_and_places_but_no_phase() -> None:
    decoder = Stft(given="mel")
    mel = encode(decoder, sine(500.0), -sine(500.0), 0.1 * sine(500.0), torch.zeros(1, LENGTH))["mel"]
    assert mel.shape == (4, 1, 40, 40)
    torch.testing.assert_close(mel[0], mel[1])
    heard = mel[2] > -0.8
    torch.testing.assert_close((mel[0] - mel[2])[heard], torch.full_like(mel[0][heard], 0.5), atol=1e-3, rtol=0)
    assert (mel[3] == -1).all()
    strongest = [int(encode(decoder, sine(f))["mel"].mean(-1).argmax()) for f in (200.0, 500.0, 1200.0, 3000.0)]
    assert strongest == sorted(set(strongest))
    click = torch.zeros(1, LENGTH)
    click[0, 32 + 64 * 17] = 0.9
    state = encode(decoder, click)
    assert int(state["spectrogram"].abs().sum((0, 1, 2)).argmax()) == 17
    assert int(state["mel"].sum((0, 1, 2)).argmax()) == 17


# Networks ----------------------------------------------------------------------------------------------------------


def small_unet2d(fields: Mapping[str, Field]) -> nn.Module:
    return UNet2D(fields, widths=[8, 16], blocks=[1, 1], bands=4, condition_dim=DIM)


def bare_unet2d(fields: Mapping[str, Field]) -> nn.Module:
    return UNet2D(fields, widths=[8, 16], blocks=[1, 1], bands=0, patch=(1, 1), attention=False, condition_dim=DIM)


def small_dit1d(fields: Mapping[str, Field]) -> nn.Module:
    return DiT1D(fields, width=32, depth=2, heads=2, reach=3, condition_dim=DIM)


def small_unet1d(fields: Mapping[str, Field]) -> nn.Module:
    return UNet1D(fields, widths=[8, 16], blocks=[1, 1], strides=[4, 2], condition_dim=DIM)


def perturbed(network: nn.Module) -> nn.Module:
    """Away from the start, where the output is zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


SOUND = Field(shape=(2, 16, 24), scale=0.5)
PAIRS = [
    (small_unet2d, SOUND, Field(shape=(1, 10, 24), given=True)),
    (bare_unet2d, SOUND, Field(shape=(1, 40, 24), given=True)),
    (small_unet2d, SOUND, Field(shape=(2, 16, 24), given=True)),
    (small_dit1d, SOUND, Field(shape=(1, 10, 24), given=True)),
    (small_dit1d, SOUND, Field(shape=(2, 16, 24), given=True)),
    (small_unet1d, Field(shape=(1, 64), scale=0.5), Field(shape=(3, 64), given=True)),
]
NETWORKS = pytest.mark.parametrize(("make", "sound", "known"), PAIRS)
Make = Callable[[Mapping[str, Field]], nn.Module]


def looks(make: Make, sound: Field, known: Field, *, first: str = "sound") -> Callable[..., Tensor]:
    """From a given value, or None where it is hidden, to what the denoiser believes of one noisy sound."""
    fields = {"sound": sound, "known": known} if first == "sound" else {"known": known, "sound": sound}
    schedule = EDM()
    process = JointProcess(fields, {name: Gaussian(schedule) for name in fields}, {"known": Frozen()})
    denoiser = Denoiser(perturbed(make(fields)), fields)
    torch.manual_seed(0)
    noisy = torch.randn(2, *sound.shape)

    def look(value: Tensor | None) -> Tensor:
        state = State({"sound": noisy, "known": torch.ones(2, *known.shape) if value is None else value})
        levels = process.levels(torch.full((2,), 0.4))
        if value is None:
            state, levels = process.hide("known", state, levels, torch.tensor([True, True]))
        posterior = denoiser(state, levels)
        assert list(posterior) == ["sound"], "nothing is made of what is given"
        estimate: Tensor = posterior["sound"].estimate
        return estimate

    return look


@NETWORKS
@pytest.mark.parametrize("first", ["sound", "known"])
def test_networks_look_at_what_is_given_and_at_whether_it_is(
    make: Make, sound: Field, known: Field, first: str
) -> None:
    look = looks(make, sound, known, first=first)
    torch.manual_seed(2)
    value = torch.randn(2, *known.shape)
    seen, other, nothing, hidden = look(value), look(-value), look(torch.zeros_like(value)), look(None)
    assert seen.shape == (2, *sound.shape)
    assert (seen - other).abs().max() > 1e-3
    assert (nothing - hidden).abs().max() > 1e-3, "known silence is not the same as nothing known"
    torch.testing.assert_close(look(None), hidden)


@NETWORKS
def test_every_value_that_is_given_is_read(make: Make, sound: Field, known: Field) -> None:
    look = looks(make, sound, known)
    value = torch.randn(2, *known.shape, requires_grad=True)
    look(value)[0].square().sum().backward()  # type: ignore[no-untyped-call]
    assert value.grad is not None
    assert (value.grad[0] != 0).float().mean() > 0.99
    assert not value.grad[1].any(), "samples do not see each other"


@pytest.mark.parametrize(("make", "shape"), [(small_unet2d, (2, 16, 24)), (small_dit1d, (2, 16, 24))])
def test_nothing_is_added_to_networks_without_given_fields(make: Make, shape: tuple[int, ...]) -> None:
    """All that a given field brings is its place at the entrance, its rows, and its level."""
    plain = dict(make({"sound": SOUND}).named_parameters())
    more = dict(make({"sound": SOUND, "known": Field(shape=(1, 10, 24), given=True)}).named_parameters())
    assert {name.split(".")[1] for name in set(more) - set(plain)} == {"rows", "levels"}
    grown = {name.split(".")[0] for name in plain if plain[name].shape != more[name].shape}
    assert grown <= {"stem", "enter"}


@pytest.mark.parametrize("make", [small_unet2d, small_dit1d])
def test_a_given_field_of_the_same_kind_can_be_handed_through(make: Make) -> None:
    """From the start, before anything is learned, the last layer's offset alone can say: take what is given."""
    network = make({"known": Field(shape=(2, 16, 24), given=True), "sound": SOUND})
    assert isinstance(network, UNet2D | DiT1D)
    assert network.stack.heard == 4
    with torch.no_grad():
        bias = network.out.bias
        assert bias is not None
        bias.view(3, -1)[1] = 1
    torch.manual_seed(0)
    state = State({"sound": torch.randn(2, *SOUND.shape), "known": torch.randn(2, *SOUND.shape)})
    made = network(state, {name: torch.zeros(2) for name in state}, torch.zeros(2, DIM))
    torch.testing.assert_close(made["sound"], state["known"])


@pytest.mark.parametrize("make", [small_unet2d, small_dit1d])
def test_a_given_field_of_other_frames_is_named(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"differ in their channels alone; .* known \[1, 10, 23\]"):
        make({"sound": SOUND, "known": Field(shape=(1, 10, 23), given=True)})


def test_low_rows_start_low_and_high_rows_high() -> None:
    """The rows of a given field of another kind of frequency are in order from the start."""
    network = small_unet2d({"sound": SOUND, "known": Field(shape=(1, 40, 24), given=True)})
    assert isinstance(network, UNet2D)
    value = torch.arange(40.0)[None, None, :, None].expand(1, 1, 40, 24)
    rows = network.stack.rows["known"](value)[0, 0, :, 0]
    assert rows.shape == (16,)
    assert (rows.diff() > 2).all()


# Seams -------------------------------------------------------------------------------------------------------------

GAPS = {
    "middle": [(900, 1700)],
    "start": [(0, 520)],
    "end": [(2000, LENGTH)],
    "several": [(0, 30), (31, 33), (700, 1500), (1503, 1900)],
    "one sample": [(1000, 1001)],
}


def marked(*gaps: tuple[int, int]) -> Tensor:
    marks = torch.zeros(LENGTH, dtype=torch.bool)
    for start, stop in gaps:
        marks[start:stop] = True
    return marks


def jump(samples: Tensor, marks: Tensor) -> float:
    """The largest step at a seam."""
    steps = samples.diff(dim=-1).abs()
    return float(steps[:, marks[1:] != marks[:-1]].max())


@pytest.mark.parametrize("gaps", GAPS.values(), ids=GAPS)
def test_known_samples_stay_as_they_are(gaps: list[tuple[int, int]]) -> None:
    marks, given, made = marked(*gaps), hiss(seed=1, channels=2), hiss(seed=2, channels=2)
    joined = join(Clip(made, RATE), Clip(given, RATE), marks).samples
    assert torch.equal(joined[:, ~marks], given[:, ~marks])
    assert joined.isfinite().all()
    middle = marked((900 + 40, 1700 - 40))
    if gaps == GAPS["middle"]:
        assert torch.equal(joined[:, middle], made[:, middle]), "the fade is 5 ms long"


@pytest.mark.parametrize("gaps", [GAPS["middle"], GAPS["start"], GAPS["end"]], ids=["middle", "start", "end"])
def test_seams_do_not_click(gaps: list[tuple[int, int]]) -> None:
    """A step at a seam is like those of the sounds themselves, even where the made one has nothing to do with it."""
    marks, given, made = marked(*gaps), sine(200.0), sine(330.0) + 0.3
    cut = torch.where(marks, made, given)
    usual = float(max(given.diff().abs().max(), made.diff().abs().max()))
    joined = join(Clip(made, RATE), Clip(given, RATE), marks).samples
    assert jump(joined, marks) < 1.1 * usual
    assert jump(cut, marks) > 2 * usual, "and a cut clicks"


def test_a_perfectly_made_part_is_left_alone() -> None:
    given, marks = sine(200.0), marked(*GAPS["middle"])
    assert torch.equal(join(Clip(given, RATE), Clip(given, RATE), marks).samples, given)


def test_a_made_part_that_is_too_loud_is_scaled_alone_and_says_so() -> None:
    given, made, marks = sine(200.0), 5 * sine(300.0), marked(*GAPS["middle"])
    clip = join(Clip(made, RATE), Clip(given, RATE), marks)
    assert clip.limiter == "the part that was made was scaled by -6.02 dB, as its peak was 2"
    joined = clip.samples
    assert torch.equal(joined[:, ~marks], given[:, ~marks])
    assert 0.9 < joined.abs().max() <= 1
    loud = join(Clip(made, RATE), Clip(given, RATE), marks, limited=False)
    assert loud.samples.abs().max() > 1.9
    assert not loud.limiter


@pytest.mark.parametrize(("subtype", "bits"), [("pcm16", 16), ("pcm24", 24)])
def test_samples_from_a_file_go_into_another_as_they_were(subtype: Any, bits: int, tmp_path: Path) -> None:
    full = 2 ** (bits - 1)
    numbers = np.unique(np.linspace(-full, full - 1, 65536).round().astype(np.int64))
    (tmp_path / "a.wav").write_bytes(encode_wav((numbers / full).astype(np.float32)[None], RATE, subtype))
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.array_equal(read.astype(np.float64) * full, numbers)


# Files of a user ---------------------------------------------------------------------------------------------------


def write(path: Path, samples: Tensor, rate: int = RATE) -> Path:
    soundfile.write(path, samples.numpy().T, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(1, 4000), "nothing to be heard in its 0.5 s"),
        (1e-4 * torch.ones(1, 4000), "nothing to be heard"),
        (torch.ones(1, 4000), "nothing to be heard"),
        (sine(440.0, 60), "0.0075 s is too short"),
    ],
)
def test_silent_and_short_inputs_are_named(samples: Tensor, message: str, tmp_path: Path) -> None:
    decoder = Stft(given="mel")
    with pytest.raises(DataError, match=rf"in\.wav: .*{message}") as caught:
        decoder.load(write(tmp_path / "in.wav", samples), decoder.fields(Sounds(hiss())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", ["rms", "peak"])
def test_a_network_hears_a_file_at_the_level_of_its_training(level: Any, tmp_path: Path) -> None:
    """How loud a person recorded must not matter, and is how loud the result is."""
    decoder = Stft(given="low", level=level)
    fields = decoder.fields(Sounds(hiss()))
    sound = hiss(1600, seed=3)
    loud, soft = (decoder.load(write(tmp_path / f"{gain}.wav", gain * sound + 0.02), fields) for gain in (1.0, 0.05))
    torch.testing.assert_close(loud.samples, soft.samples, rtol=1e-3, atol=1e-4)
    wanted = 0.1 if level == "rms" else 0.95
    found = loud.sound.square().mean().sqrt() if level == "rms" else loud.sound.abs().max()
    assert float(found) == pytest.approx(wanted, rel=1e-3)
    torch.testing.assert_close(soft.original[:, :1600], 0.05 * sound + 0.02)
    finished = decoder.finish(soft, known=False)(Clip(soft.samples, RATE)).samples
    torch.testing.assert_close(finished, 0.05 * sound + 0.02, rtol=1e-3, atol=1e-4)


def test_without_a_level_a_file_is_heard_as_it_is(tmp_path: Path) -> None:
    decoder = Stft()
    clip = decoder.load(write(tmp_path / "a.wav", hiss(1600)), decoder.fields(Sounds(hiss())))
    assert torch.equal(clip.sound, hiss(1600))
    assert clip.gain == 1


def test_the_low_band_is_put_back_and_nothing_else() -> None:
    decoder = Stft(given="low")
    made, known = sine(500.0, level=0.1) + sine(3000.0), sine(900.0) + sine(3500.0)
    found = decoder.restore(made, known)[:, 100:-100]
    torch.testing.assert_close(found, (sine(900.0) + sine(3000.0))[:, 100:-100], rtol=0, atol=3e-3)
    assert torch.equal(Stft(given="mel").restore(made, known), made)
    assert torch.equal(Stft().restore(made, known), made)


def test_a_mask_may_mark_more_than_half_of_a_clip(tmp_path: Path) -> None:
    """A mask is no sound: its mean is no offset to be taken off."""
    marks = marked((100, 2300))
    write(tmp_path / "mask.wav", marks.float()[None])
    decoder = Waveform()
    unknown = decoder.load_mask(tmp_path / "mask.wav", decoder.fields(Sounds(hiss())))
    assert torch.equal(unknown["waveform"][0, 0], marks)


def test_a_gap_hides_all_of_a_given_field(tmp_path: Path) -> None:
    decoder = Stft(given="mel")
    fields = decoder.fields(Sounds(hiss()))
    clip = decoder.load(write(tmp_path / "in.wav", hiss(1600)), fields)
    assert clip.length == 1600
    (tmp_path / "gap.txt").write_text("0.1 0.15")
    for mask in (tmp_path / "gap.txt", None):
        gap = decoder.gap(clip, mask, fields)
        assert set(gap.unknown) == set(fields)
        assert gap.unknown["mel"].all()
        assert not gap.unknown["spectrogram"].all()
    after = decoder.gap(clip, None, fields).unknown["spectrogram"][0, 0, 0]
    assert after.tolist() == [False] * 24 + [True] * 16


def test_gaps_that_leave_nothing_are_named(tmp_path: Path) -> None:
    decoder = Stft()
    fields = decoder.fields(Sounds(hiss()))
    whole = decoder.load(write(tmp_path / "in.wav", hiss()), fields)
    with pytest.raises(DataError, match=r"input: lasts 0\.32 s, which is all .*length=0\.64s"):
        decoder.gap(whole, None, fields)
    (tmp_path / "gap.txt").write_text("0 9")
    with pytest.raises(DataError, match=r"gap\.txt: too little is left that is known"):
        decoder.gap(whole, tmp_path / "gap.txt", fields)
    little = decoder.load(write(tmp_path / "in.wav", hiss(90)), fields)
    with pytest.raises(DataError, match="input: too little is left"):
        decoder.gap(little, None, fields)
