"""Voices by a recording of them: spoken digits in the voice of a clip that the network never heard, learned from five
of the six speakers of the Free Spoken Digit Dataset. The clip goes through an encoder that is trained with the network;
the judge is another one, Resemblyzer's embedding of speakers. Ten samples, one of each digit, that were asked for by
one held-out clip are joined, and so are the ten digits of a held-out take; each counts if it is nearest, among all six
speakers, to training recordings of its own. The sixth speaker was not there in training, and is reported apart."""

from __future__ import annotations

import dataclasses
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

import suffuse
from benchmarks.experiment import Experiment, conduct, core_minutes, data_folder
from benchmarks.fsdd import OVERRIDES, PATTERN, RECORDINGS
from benchmarks.harness import Bar, Cell, Findings, Options, Skipped, Table
from suffuse.errors import PluginError
from suffuse_audio.clips import Clip
from suffuse_audio.data import Folder
from suffuse_audio.metrics import Voiceprints, nearest
from suffuse_audio.pictures import sheet

__all__ = ["SPEAKERS", "STRANGER", "Digits", "judged", "measure"]

KNOWN = ("george", "jackson", "lucas", "nicolas", "theo")
STRANGER = "yweweler"
"""Not trained on: the last one by name."""
SPEAKERS = (*KNOWN, STRANGER)
RATE = 8000
LIMIT = 0.8
HELDOUT = range(5)
TRAINING = range(5, 15)
"""Takes whose mean stands for a speaker."""
SHOWN = (0, 3, 6, 9)
"""Digits of the held-out takes that are shown to the network."""
GUIDANCE = {"interval": [0.2, 20.0]}
"""For what Resemblyzer judges: a voice is decided earlier than a word. Chosen on clips that are judged here too."""

Digits: TypeAlias = Sequence[NDArray[np.float32]]
"""One clip of each digit."""


def measure(options: Options) -> Findings:
    """Three runs, and whose voices their samples have."""
    try:
        prints = Voiceprints(RATE)
    except PluginError as error:
        raise Skipped(str(error)) from error
    # Fewer steps than for words: whose voice it is, is learned sooner.
    shorter = [word for word in OVERRIDES if not word.startswith("trainer.steps")] + ["trainer.steps=4500"]
    overrides = [*shorter, "data.reference=speaker", f"data.only={{speaker: [{','.join(KNOWN)}]}}"]
    outcomes, findings = conduct(Experiment(name="voice", overrides=overrides, seeds=(0, 1, 2), draws=300), options)
    recordings = data_folder() / RECORDINGS
    takes = _takes(recordings)
    heldout = HELDOUT[:1] if options.quick else HELDOUT
    made = [_made(outcome.directory, recordings, heldout) for outcome in outcomes]
    pooled = {speaker: [each for one in made for each in one[speaker]] for speaker in made[0]}
    bar, table = judged(prints, takes, pooled)
    if options.results is not None:
        _draw(takes, made[0], options.results / "voice.png")
    bars = [bar, core_minutes(outcomes, ("train",), 20)]
    settings = {
        **findings.settings,
        "guidance of whose voice it is": str(GUIDANCE),
        "nearest to the voice asked for, by seed": ", ".join(
            f"{judged(prints, takes, one)[0].found:.2f}" for one in made
        ),
    }
    return dataclasses.replace(findings, bars=bars, tables=[table, *findings.tables], settings=settings)


def _takes(recordings: Path) -> dict[tuple[str, int], Digits]:
    """The ten digits of each speaker and take, as clips of one length."""
    source = Folder(path=recordings, pattern=PATTERN, classes=["label", "speaker"], numbers=["take"], heldout=0)
    names = source.train.conditions["speaker"].to_json()["names"]
    takes: dict[tuple[str, int], dict[int, NDArray[np.float32]]] = {}
    for index in range(len(source.train)):
        value, known = source.train[index]
        place = (names[known["speaker"]], int(known["take"]))
        takes.setdefault(place, {})[known["label"]] = value.samples[0].numpy()
    return {place: [found[digit] for digit in sorted(found)] for place, found in takes.items()}


def _made(run: Path, recordings: Path, heldout: Sequence[int]) -> dict[str, list[Digits]]:
    """For each speaker the ten digits that were made for each clip that was shown, a file as a user has one."""
    model = suffuse.load(run)
    made: dict[str, list[Digits]] = {}
    with tempfile.TemporaryDirectory(prefix="suffuse-voice-") as folder, zipfile.ZipFile(recordings) as archive:
        archive.extractall(folder)
        files = {file.name: str(file) for file in Path(folder).rglob("*.wav")}
        for seed, speaker in enumerate(SPEAKERS):
            shown = [files[f"{digit}_{speaker}_{take}.wav"] for take in heldout for digit in SHOWN]
            asked = {"reference": [file for file in shown for _ in range(10)], "label": list(range(10))}
            clips = [
                clip.samples[0].numpy() for clip in model.sample(10 * len(shown), asked, seed=seed, guidance=GUIDANCE)
            ]
            made[speaker] = [clips[start : start + 10] for start in range(0, len(clips), 10)]
    return made


def judged(
    prints: Callable[[Digits], NDArray[np.float32]],
    takes: Mapping[tuple[str, int], Digits],
    made: Mapping[str, Sequence[Digits]],
) -> tuple[Bar, Table]:
    """How often each speaker's samples are nearest to its own voice, and the share of those trained on.

    Args:
        prints: sounds of one voice to a unit vector.
        takes: real digits by speaker and take.
        made: for each speaker, several times ten digits.
    """
    centres = np.stack([np.mean([prints(takes[speaker, take]) for take in TRAINING], 0) for speaker in SPEAKERS])
    rows: list[list[Cell]] = []
    hits: list[list[bool]] = [[], []]
    for place, speaker in enumerate(SPEAKERS):
        real = [takes[speaker, take] for take in HELDOUT]
        found = [np.stack([prints(digits) for digits in groups]) for groups in (made[speaker], real)]
        right = [(nearest(group, centres) == place).tolist() for group in found]
        shares = [float(np.mean(part)) for part in right]
        alike = [float((group @ centres[place]).mean()) for group in found]
        rows.append([speaker + (" (not trained on)" if speaker == STRANGER else ""), *shares, *alike])
        if speaker != STRANGER:
            hits = [before + part for before, part in zip(hits, right, strict=True)]
    known = [float(np.mean(part)) for part in hits]
    rows.append(["the five trained on", *known, None, None])
    columns = ("speaker", "samples nearest", "real nearest", "samples' cosine", "real cosine")
    promise = f"nearest to the voice asked for: at least {LIMIT:g} times as often as real recordings"
    share = known[0] / known[1]
    return (
        Bar(promise=promise, found=share, met=share >= LIMIT),
        Table(title="Whose voice it is", columns=columns, rows=rows),
    )


def _draw(takes: Mapping[tuple[str, int], Digits], made: Mapping[str, Sequence[Digits]], file: Path) -> None:
    """A row for each speaker: the clip that was shown, and the digits that were made for it."""
    rows = {speaker: [takes[speaker, HELDOUT[0]][SHOWN[0]], *made[speaker][0]] for speaker in SPEAKERS}
    clips = [Clip(torch.from_numpy(sound)[None], RATE) for row in rows.values() for sound in row]
    captions = [speaker if place else f"{speaker}, real" for speaker, row in rows.items() for place in range(len(row))]
    sheet(clips, captions).convert("RGB").quantize(64).save(file, optimize=True)
