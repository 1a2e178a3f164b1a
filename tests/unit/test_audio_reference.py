"""A voice as a condition: which clip is shown, what is made of a user's file, what the encoder looks at, and a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_files import RATE, folder, tone, write
from numpy.typing import NDArray

from suffuse.cli import main
from suffuse.conditions import condition_from_json
from suffuse.data import Batch
from suffuse.errors import ConfigError
from suffuse.plugins import Registry
from suffuse_audio.clips import Clip
from suffuse_audio.data.reference import Reference
from suffuse_audio.data.voices import REFERENCE, Voices

LENGTH = 2400
KIND = Reference(RATE, LENGTH)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Two voices of five clips each, and one of a single clip; each clip is a tone of its own."""
    for index in range(10):
        write(tmp_path / "sounds" / f"{index % 3}_{'ab'[index % 2]}_{index}.wav", tone(200 + 50 * index))
    write(tmp_path / "sounds" / "1_c_10.wav", tone(900))
    return tmp_path / "sounds"


def voices(sources: Path, **settings: Any) -> Voices:
    pattern = r"(?P<label>\d)_(?P<speaker>\w)_(?P<take>\d+)"
    where = {"heldout_where": {"take": ["8", "9"]}, "reference": "speaker", "seconds": 0.3}
    with pytest.warns(UserWarning, match="no other of their voice"):
        split = folder(sources, pattern=pattern, **{**where, **settings}).train
    assert isinstance(split, Voices)
    return split


def generators(seed: int, count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, place]) for place in range(count)]


def whose(batch: Batch, split: Voices) -> list[int | None]:
    """Which item each reference is; None where it is missing."""
    sounds = torch.stack([split[index].value.samples[0] for index in range(len(split))])
    found: list[int | None] = []
    for row in batch.conditions[REFERENCE]:
        same = (sounds == row).all(1).nonzero().flatten().tolist()
        assert bool(row.isnan().all()) == (not same)
        found.append(same[0] if same else None)
    return found


def check_references(split: Voices) -> None:
    """Each item is shown every other clip of its voice, and nothing else."""
    order = list(range(len(split)))
    seen: dict[int, set[int | None]] = {index: set() for index in order}
    for seed in range(24):
        drawn = whose(split.gather(order, generators(seed, len(order))), split)
        assert drawn == whose(split.gather(order, generators(seed, len(order))), split)
        for index, other in enumerate(drawn):
            seen[index].add(other)
    speakers = _speakers(split)
    for index, others in seen.items():
        mates = {other for other in order if speakers[other] == speakers[index] and other != index}
        assert others == (mates or {None}), index
    fixed = whose(split.gather(order), split)
    assert fixed == whose(split.gather(order), split)
    assert all(other in seen[index] for index, other in enumerate(fixed))


def test_the_reference_is_another_clip_of_the_same_voice(sources: Path) -> None:
    """Which one is a function of the generators in training, and of the item elsewhere."""
    split = voices(sources)
    assert set(split.conditions) == {"label", REFERENCE}
    check_references(split)
    assert split.alone == 1


@pytest.mark.parametrize("shift", [0, 1])
def test_the_clip_itself_and_that_of_another_voice_are_noticed(
    sources: Path, shift: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = voices(sources)
    clips = [split[index].value for index in range(len(split))]
    monkeypatch.setattr(split, "_other", lambda index, rng: clips[(index + shift) % len(clips)])
    with pytest.raises(AssertionError):
        check_references(split)


def _speakers(split: Voices) -> list[str]:
    """Of each item, by the pitch that its clip has: those of the two voices take turns."""
    found = []
    for index in range(len(split)):
        spectrum = np.abs(np.fft.rfft(split[index].value.samples[0].numpy()))
        place = round((float(spectrum.argmax()) * RATE / LENGTH - 200) / 50)
        found.append("c" if place > 9 else "ab"[place % 2])
    return found


def test_items_and_batches_agree(sources: Path) -> None:
    split = voices(sources)
    batch = split.gather(range(len(split)))
    items = [split[index] for index in range(len(split))]
    collated = split.collate([item.condition for item in items])
    for name, values in batch.conditions.items():
        torch.testing.assert_close(collated[name], values, equal_nan=True, rtol=0, atol=0)
    assert sum(REFERENCE not in item.condition for item in items) == 1


def test_the_turn_of_the_sign_and_the_reference_are_drawn_apart(sources: Path) -> None:
    """One generator serves both, one draw after the other; else a sign would go with a reference."""
    split = voices(sources, invert=True)
    pairs = set()
    for seed in range(64):
        batch = split.gather([0], generators(seed, 1))
        clip, plain = batch.values[0].samples, split[0].value.samples
        row = batch.conditions[REFERENCE][0]
        other = next(i for i in range(len(split)) if torch.equal(split[i].value.samples[0], row))
        pairs.add((bool(torch.equal(clip, plain)), other))
    assert len(pairs) == 2 * 3


def test_a_column_that_becomes_the_voice_is_no_class(sources: Path) -> None:
    assert set(voices(sources, classes=["label", "speaker"]).conditions) == {"label", "speaker", REFERENCE}
    with pytest.raises(ConfigError, match=r"data\.reference=spaeker.*known is label, speaker, take.*did you mean"):
        folder(sources, pattern=r"(?P<label>\d)_(?P<speaker>\w)_(?P<take>\d+)", reference="spaeker")


def test_it_is_a_condition_like_any_other() -> None:
    values = [Clip(torch.rand(1, LENGTH), RATE), None, Clip(torch.rand(2, 100), RATE)]
    collated = KIND.collate(values)
    assert collated.shape == (3, LENGTH)
    assert KIND.present(collated).tolist() == [True, False, True]
    assert bool((collated[2, 100:] == 0).all())
    torch.testing.assert_close(collated[2, :100], values[2].samples.mean(0))  # type: ignore[union-attr]
    dropped = KIND.drop(collated, torch.tensor([True, False, False]))
    assert KIND.present(dropped).tolist() == [False, False, True]
    found = condition_from_json(
        json.loads(json.dumps(KIND.to_json())), lambda kind: Registry().find("condition", kind, plugin="audio")
    )
    assert found == KIND


def listen(samples: NDArray[np.float32] | torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = KIND.encoder(16)
    with torch.no_grad():
        made: torch.Tensor = encoder(torch.as_tensor(samples)[None])[0]
    return made


def test_the_encoder_hears_what_is_there_and_not_how_loud_or_how_long_it_is_silent() -> None:
    sound = torch.from_numpy(tone(300, 0.2) + tone(1200, 0.2, level=0.2))
    before = listen(torch.nn.functional.pad(sound, (0, LENGTH - len(sound))))
    assert before.shape == (16,)
    quieter = listen(torch.nn.functional.pad(sound / 20, (0, LENGTH - len(sound))))
    longer = listen(torch.nn.functional.pad(sound, (0, 3 * LENGTH - len(sound))))
    other = listen(torch.nn.functional.pad(torch.from_numpy(tone(450, 0.2)), (0, LENGTH - len(sound))))
    torch.testing.assert_close(quieter, before, atol=1e-4, rtol=0)
    torch.testing.assert_close(longer, before, atol=0.05, rtol=0)
    assert (other - before).norm() > 10 * (longer - before).norm()


def test_silence_and_missing_clips_send_no_bad_gradients() -> None:
    encoder = KIND.encoder(16)
    encoder(torch.zeros(2, LENGTH)).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters() if p.grad is not None)


def test_a_file_of_the_user_is_prepared(tmp_path: Path) -> None:
    """Of any rate and number of channels; of a long one the loudest stretch is taken."""
    quiet, loud = tone(440, 1.0, 16000, level=0.05), tone(440, 0.3, 16000)
    whole = np.concatenate([quiet, loud, quiet])
    path = write(tmp_path / "voice.wav", np.stack([whole, whole], 1), 16000)
    clip = KIND.parse(str(path), REFERENCE)
    assert clip.rate == RATE
    assert clip.samples.shape == (1, LENGTH)
    assert float(clip.samples.abs().mean()) > 0.9 * 0.5 * 2 / np.pi
    short = KIND.parse(write(tmp_path / "short.wav", tone(seconds=0.15)), REFERENCE)
    assert KIND.present(KIND.collate([short])).tolist() == [True]
    assert KIND.parse(clip, REFERENCE) is clip


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p, "there is no such file"),
        (_folder, "a folder, not a sound file"),
        (lambda p: _bytes(p, b""), "is an empty file"),
        (lambda p: _bytes(p, b"no sound " * 40), "is not a readable sound"),
        (lambda p: write(p, np.zeros(4000, np.float32)), "nothing to be heard"),
        (lambda p: write(p, 1e-4 * tone()), "nothing to be heard"),
        (lambda p: write(p, tone(seconds=0.05)), r"0\.05 s are too short.*0\.1 s are enough"),
        (lambda p: 7, "must be a sound file"),
        (lambda p: Clip(torch.ones(1, 800), 16000), "a clip of 16000 Hz; this run has 8000 Hz"),
    ],
)
def test_what_is_no_voice_is_told_in_one_line(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^condition\.reference.*{message}") as caught:
        KIND.parse(make(tmp_path / "voice.wav"), REFERENCE)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_speaks_in_the_voice_of_a_file(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, saved, loaded and sampled by the command line; each file is another wish, a list is dealt out."""
    monkeypatch.chdir(tmp_path)
    data = [f"data.path={sources}", r"data.pattern=(?P<label>\d)_(?P<speaker>\w)_", "data.reference=speaker"]
    short = [
        "trainer.steps=12",
        "trainer.warmup=1",
        "trainer.lr=1e-2",
        "trainer.ema=0.5",
        "trainer.batch_size=4",
        "trainer.preview_every=0",
        "trainer.validate_every=0",
    ]
    data += [
        "data.only={speaker: [a, b]}",
        "data.heldout=0",
        "data.seconds=0.16",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    words = [
        "modality=audio",
        "data=folder",
        *data,
        *short,
        "backbone=unet2d_tiny",
        "sampler.steps=3",
        "hydra.run.dir=run",
    ]
    assert main(["train", *words]) == 0
    low, high = (write(tmp_path / f"{hz}.wav", tone(hz)).name for hz in (250, 2500))

    def made(out: str, reference: str) -> NDArray[np.float64]:
        common = ["run=run", "n=2", f"out={out}", "compute_batch=2", "condition.label=1"]
        assert main(["sample", *common, *([f"condition.reference={reference}"] if reference else [])]) == 0
        return np.stack([soundfile.read(path)[0] for path in sorted((tmp_path / out).glob("*.wav"))])

    by_low, by_high, dealt, nobody = made("a", low), made("b", high), made("c", f"[{low},{high}]"), made("d", "")
    np.testing.assert_array_equal(dealt, np.stack([by_low[0], by_high[1]]))
    assert np.abs(by_low - by_high).max() > 1e-3
    assert np.abs(by_low - nobody).max() > 1e-3
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["sample", "run=run", "n=1", "condition.reference=absent.wav", "out=e"])
    assert "condition.reference=absent.wav: there is no such file" in capsys.readouterr().err
