"""What is known of the sounds of a folder, and which are held out; named sets and spoken digits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_files import everything, folder, one_line, size, tone, tree, write
from data_files import write_csv

from suffuse.conditions import ClassLabel, Scalar
from suffuse.errors import ConfigError, DataError, PluginError
from suffuse_audio.data import Named, SpokenDigits

DIGITS = r"(?P<label>\d)_(?P<speaker>\w+)_(?P<take>\d+)"


def digits(root: Path, takes: int = 12) -> Path:
    for label in range(2):
        for speaker in ("theo", "van_dyk"):
            for take in range(takes):
                write(root / f"{label}_{speaker}_{take}.wav", tone(200 + 100 * label + take))
    return root


def names(source: Any, condition: str) -> tuple[str, ...]:
    kind = source.train.conditions[condition]
    assert isinstance(kind, ClassLabel)
    return kind.names


def test_the_top_subfolder_is_the_class(tmp_path: Path) -> None:
    source = folder(tree(tmp_path / "s", 12, ("2", "10")))
    assert source.train.conditions == {"label": ClassLabel(("2", "10"))}
    assert folder(tree(tmp_path / "flat" / "s", kinds=())).train.conditions == {}
    tree(tmp_path / "outer" / "inner")
    assert names(folder(tmp_path / "outer"), "label") == ("high", "low")


def test_a_pattern_gives_classes_and_the_held_out_takes(tmp_path: Path) -> None:
    source = folder(digits(tmp_path / "s"), pattern=DIGITS, heldout_where={"take": "0..4"})
    assert size(source) == (28, 20)
    assert source.train.conditions == {"label": ClassLabel(("0", "1")), "speaker": ClassLabel(("theo", "van_dyk"))}
    lengths = {(item.condition["label"], item.condition["speaker"]) for item in everything(source)}
    assert len(lengths) == 4
    numbers = folder(tmp_path / "s", pattern=DIGITS, classes="label", numbers="take").train
    assert list(numbers.conditions) == ["label", "take"]
    assert isinstance(numbers.conditions["take"], Scalar)


@pytest.mark.parametrize(
    ("where", "held"),
    [
        ({"take": 3}, 4),
        ({"take": [1, "5..6"]}, 12),
        ({"take": "10.."}, 8),
        ({"take": "..1", "label": 1}, 4),
        (r"_[01]\.wav$", 8),
    ],
)
def test_what_is_held_out_can_be_said(tmp_path: Path, where: Any, held: int) -> None:
    assert size(folder(digits(tmp_path / "s"), pattern=DIGITS, heldout_where=where))[1] == held


def test_what_is_held_out_can_be_listed(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    (tmp_path / "list.txt").write_text("low/0.wav\nhigh/1.wav\n\n")
    assert size(folder(tmp_path / "s", heldout_list=tmp_path / "list.txt")) == (10, 2)
    for text in ("", "gone.wav\n"):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(DataError, match=r"data\.heldout_list=.*holds out no sound"):
            folder(tmp_path / "s", heldout_list=tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"data\.heldout_list=.*cannot be read"):
        folder(tmp_path / "s", heldout_list=tmp_path / "none.txt")


@pytest.mark.parametrize("where", [{"take": 99}, {"take": "0.."}, "x"])
def test_a_held_out_part_of_nothing_or_all_is_an_error(tmp_path: Path, where: Any) -> None:
    with pytest.raises(DataError, match=r"data\.heldout_where=.*holds out (no|every) sound") as error:
        folder(digits(tmp_path / "s", 2), pattern=DIGITS, heldout_where=where)
    one_line(error)


def test_a_group_is_never_parted(tmp_path: Path) -> None:
    source = folder(digits(tmp_path / "s"), pattern=DIGITS, group="take", numbers="take", heldout=0.3)
    trained, held = (
        {split[index].condition["take"] for index in range(len(split))} for split in (source.train, source.heldout)
    )
    assert not trained & held


def test_names_that_do_not_match_are_counted_and_left_out(tmp_path: Path) -> None:
    write(digits(tmp_path / "s", 3) / "other.wav", tone())
    with pytest.warns(UserWarning, match=r"1 of 13 sounds do not match data\.pattern .*'other\.wav'"):
        assert sum(size(folder(tmp_path / "s", pattern=DIGITS))) == 12
    with pytest.raises(DataError, match=r"data\.pattern=nothing: matches no sound; the first one is '0_theo_0\.wav'"):
        folder(tmp_path / "s", pattern="nothing")


def test_a_class_of_which_nothing_is_left_is_no_class(tmp_path: Path) -> None:
    tree(tmp_path / "s")
    write(tmp_path / "s" / "mute" / "a.wav", np.zeros(4000))
    with pytest.warns(UserWarning, match=r"1 of 13 sounds are silent"):
        assert names(folder(tmp_path / "s"), "label") == ("high", "low")


def test_a_class_that_is_held_out_whole_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"no sound to train on has speaker 'theo'$"):
        folder(digits(tmp_path / "s", 3), pattern=DIGITS, heldout_where={"speaker": "theo"})


def test_a_class_that_no_sound_has_is_answered_with_those_there_are(tmp_path: Path) -> None:
    digits(tmp_path / "s", 3)
    assert names(folder(tmp_path / "s", pattern=DIGITS, only={"label": 1}), "label") == ("1",)
    with pytest.raises(
        DataError, match=r"no sound has \{'label': 7\}; label is one of '0', '1'; see data\.only"
    ) as error:
        folder(tmp_path / "s", pattern=DIGITS, only={"label": 7})
    one_line(error)
    with pytest.raises(ConfigError, match=r"condition\.label=7: not a class of this run; known: 0, 1"):
        folder(tmp_path / "s", pattern=DIGITS).train.conditions["label"].parse(7, "label")


@pytest.mark.parametrize("key", ["group", "only", "heldout_where", "classes", "numbers"])
def test_a_column_that_is_not_known_is_answered_with_those_that_are(tmp_path: Path, key: str) -> None:
    value: Any = "taek" if key in ("group", "classes", "numbers") else {"taek": 1}
    with pytest.raises(ConfigError, match=r"taek.*known is label, speaker, take; did you mean 'take'") as error:
        folder(digits(tmp_path / "s", 2), pattern=DIGITS, **{key: value})
    one_line(error)


def test_a_manifest_gives_classes_and_numbers(tmp_path: Path) -> None:
    tree(tmp_path / "s", kinds=())
    rows = [[f"{index}.wav", "ab"[index % 2], index, ""] for index in range(11)]
    table = write_csv(tmp_path / "m.csv", ["file", "kind", "pitch in Hz", "note"], *rows, ["gone.wav", "a", 0, ""])
    with pytest.warns(UserWarning, match="left out|without it") as seen:
        source = folder(tmp_path / "s", labels=table, classes="kind", numbers="pitch in Hz")
    assert sorted(str(warning.message).split(": ", 1)[1] for warning in seen) == [
        "1 of 12 have no 'kind', 1 of 12 have no 'pitch_in_Hz'; they train without it",
        "1 rows name no sound and are left out: 'gone.wav'",
    ]
    assert names(source, "kind") == ("a", "b")
    known = [item.condition for item in everything(source)]
    assert sorted(item["pitch_in_Hz"] for item in known if item) == list(range(11))
    trained = [source.train[index].condition.get("pitch_in_Hz") for index in range(len(source.train))]
    numbers = [value for value in trained if value is not None]
    assert source.train.conditions["pitch_in_Hz"] == Scalar(mean=float(np.mean(numbers)), std=float(np.std(numbers)))
    with pytest.warns(UserWarning, match="left out|without it"):  # without a choice it is the first column
        assert list(folder(tmp_path / "s", labels=table).train.conditions) == ["kind"]
    with pytest.raises(DataError, match="the column note is empty for every sound"):
        folder(tmp_path / "s", labels=table, classes="note")
    with pytest.raises(DataError, match=r"s: kind of '\d+\.wav' is '[ab]', not a number"):
        folder(tmp_path / "s", labels=table, numbers="kind")


# Named sets


def test_a_named_set_is_read_where_it_lies(tmp_path: Path) -> None:
    place = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    for word in ("yes", "no"):
        for index in range(6):
            write(place / word / f"{index:08x}_nohash_0.wav", tone(300 + index, seconds=1.0, rate=16000), 16000)
    write(place / "_background_noise_" / "pink_noise.wav", tone())
    (place / "testing_list.txt").write_text("yes/00000000_nohash_0.wav\nno/00000003_nohash_0.wav\n")
    settings = {"dataset": "speechcommands", "root": tmp_path, "cache_dir": tmp_path / "cache"}
    source = Named(**settings, classes=("label",))
    assert size(source) == (10, 2)
    assert source.train.conditions == {"label": ClassLabel(("no", "yes"))}
    assert source.train[0].value.samples.shape == (1, 8000)
    assert "speaker" in Named(**settings).train.conditions


def test_a_named_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root=.*: vctk is not in it .*data\.download=true") as error:
        Named(dataset="vctk", root=tmp_path)
    one_line(error)
    with pytest.raises(ConfigError, match=r"data\.dataset=speech_commands: .*did you mean 'speechcommands'"):
        Named(dataset="speech_commands", root=tmp_path)


# Spoken digits


def test_spoken_digits_without_their_extra_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(PluginError, match=r"suffuse\[speech\]") as error:
        SpokenDigits()
    one_line(error)


def test_spoken_digits_differ_and_can_be_made_again() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra speech is not installed")
    settings: dict[str, Any] = {"voices": ("en-us", "en-us+f2"), "clips": 2, "heldout": 0.3}
    first, second = SpokenDigits(**settings), SpokenDigits(**settings)
    assert sum(size(first)) == 40
    values = [item.value.samples for item in everything(first)]
    assert all(torch.equal(a, b.value.samples) for a, b in zip(values, everything(second), strict=True))
    assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])
    assert all(0.1 < clip.value.length / 8000 <= 0.64 for clip in everything(first))


@pytest.mark.parametrize("voice", ["en-us+female2", "xx", "en-us+m9"])
def test_a_voice_that_is_not_there_is_told(voice: str) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra speech is not installed")
    with pytest.raises(DataError, match="eSpeak NG has no") as error:
        SpokenDigits(voices=("en-us", voice), clips=1)
    one_line(error)


def test_a_voice_that_sounds_like_another_is_told() -> None:
    pytest.importorskip("espeakng_loader", reason="the extra speech is not installed")
    with pytest.raises(DataError, match="'EN-US' sounds like 'en-us'") as error:
        SpokenDigits(voices=("en-us", "EN-US"), clips=1)
    one_line(error)
