"""The harness of the benchmarks: what is printed and recorded is what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as entry
from benchmarks import experiment, voice
from benchmarks.harness import (
    Bar,
    Findings,
    Options,
    Record,
    Skipped,
    Spread,
    Table,
    interleaved,
    machine,
    read,
    write,
)
from benchmarks.results import markdown, page, section, shown
from PIL import Image


def record(**changes: Any) -> Record:
    findings = Findings(
        bars=[Bar(promise="under 60 µs", found=71.5, met=False)],
        tables=[Table(title="Times", columns=("µs", "median"), rows=[["ours", 71.5], ["theirs", None]])],
        settings={"steps": 1000},
        pictures=["loop.png"],
    )
    made = Record(
        name="loop",
        about="What it is about.",
        command="python -m benchmarks loop",
        date="2030-01-01T00:00+00:00",
        seconds=61.0,
        quick=False,
        machine={"processor": "abacus"},
        findings=findings,
    )
    return dataclasses.replace(made, **changes)


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contender(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = interleaved({name: lambda name=name: contender(name) for name in "ab"}, rounds=2)
    assert calls == ["b", "a", "a", "b", "b", "a"]
    assert found == {"a": Spread([3.0, 6.0]), "b": Spread([4.0, 5.0])}


def test_the_median_ignores_one_slow_moment() -> None:
    assert Spread([1.0, 2.0, 900.0]).cells() == [2.0, 1.0, 900.0]


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    file = write(record(), tmp_path)
    back = read(file)
    assert file.name == "loop.json"
    assert section(back) == section(record())
    assert back.findings.bars == list(record().findings.bars)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, ""), (0.97312, "0.9731"), (12345.6, "12,346"), (1797, "1,797"), ("lower", "lower")],
)
def test_cells(cell: Any, text: str) -> None:
    assert shown(cell) == text


def test_a_table_is_a_rectangle() -> None:
    lines = markdown(record().findings.tables[0]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {3}


def test_the_page_holds_every_figure_with_its_command_and_says_what_was_not_run() -> None:
    text = page({"loop": record()}, {"loop": "The loop", "digits": "Digits"})
    assert "python -m benchmarks loop" in text
    assert "71.5" in text
    assert "missed" in text
    assert "abacus" in text
    assert "](../benchmarks/results/loop.png)" in text
    assert text.index("## The loop") < text.index("## Digits")
    assert "Not run yet: `python -m benchmarks digits`" in text


def test_quick_figures_are_marked() -> None:
    assert "mean nothing" in section(record(quick=True))
    assert "mean nothing" not in section(record())


def test_the_machine_says_what_times_depend_on() -> None:
    assert {"processor", "cores", "torch", "threads of torch"} <= machine().keys()


def test_list_names_every_benchmark_and_each_is_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    folder = Path(entry.__file__).parent
    assert listed == list(entry.BENCHMARKS)
    assert all((folder / f"{name}.py").is_file() for name in listed)


@pytest.mark.parametrize("names", [["lop"], ["all", "loop"], ["table", "loop"]])
def test_names_that_are_none_are_refused(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        entry.main(names)
    assert stop.value.code == 2
    assert "training" in capsys.readouterr().err


def test_table_is_made_from_the_records_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(record(), tmp_path)
    assert entry.main(["table", "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "71.5" in text
    assert text.count("Not run yet") == len(entry.BENCHMARKS) - 1


def test_committed_records_can_be_read_and_none_is_quick() -> None:
    for file in entry.RESULTS.glob("*.json"):
        assert not read(file).quick, file
        assert file.stem in entry.BENCHMARKS


def test_without_data_an_experiment_is_skipped_and_keeps_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "absent"))
    results = tmp_path / "results"
    assert entry.main(["fashion", "--results", str(results), "--runs", str(tmp_path)]) == 0
    assert "skipped" in capsys.readouterr().out
    assert not results.exists()


def outcome(value: float, real: float, seconds: float) -> experiment.Outcome:
    score = {"name": "memorised share", "value": value, "real": real, "better": "lower"}
    return experiment.Outcome(
        directory=Path(), seconds={"train": seconds}, work={"train": 2 * seconds}, scores={"memorised share": score}
    )


def test_bars_take_the_mean_of_scores_and_the_slowest_time() -> None:
    outcomes = [outcome(0.50, 0.48, 60), outcome(0.46, 0.44, 180)]
    assert experiment.least(outcomes, "memorised share", 0.48).met
    assert not experiment.least(outcomes, "memorised share", 0.49).met
    assert experiment.margin(outcomes, "memorised share", 0.03).met
    assert not experiment.margin(outcomes, "memorised share", 0.01).met
    assert experiment.most(outcomes, "memorised share", 0.48).met
    assert not experiment.most(outcomes, "memorised share", 0.47).met
    assert experiment.fraction(outcomes, "memorised share", 1.04).met
    assert not experiment.fraction(outcomes, "memorised share", 1.05).met
    assert experiment.minutes(outcomes, ["train"], 3).met
    assert not experiment.minutes(outcomes, ["train"], 2).met
    assert experiment.core_minutes(outcomes, ["train"], 6).met
    assert not experiment.core_minutes(outcomes, ["train"], 5).met


class CommandLine:
    """Stands in for the command line: remembers what was typed and leaves what a stage would.

    Args:
        broken: a stage that is cut off, once.
    """

    def __init__(self, broken: str = "") -> None:
        self.typed: list[list[str]] = []
        self.broken = broken

    def __call__(self, command: list[str], **settings: Any) -> None:
        self.typed.append(command[3:])
        place = next(word.partition("=")[2] for word in command if word.startswith(("hydra.run.dir=", "run=")))
        directory = Path(place)
        if command[3] == "train":
            assert not directory.exists(), "a run is begun in a folder of its own"
        (directory / "sheet").mkdir(parents=True, exist_ok=True)
        if command[3] == self.broken:
            self.broken = ""
            raise KeyboardInterrupt
        Image.new("RGB", (2000, 10), "red").save(directory / "sheet" / "sheet.png")
        (directory / "run.json").write_text(json.dumps({"parameters": 7, "work": 270}))
        value = 0.9 if place.endswith("seed0") else 0.8
        score = {"name": "coverage", "value": value, "real": 0.95, "better": "higher", "about": ""}
        (directory / "evaluation.json").write_text(json.dumps({"scores": [score]}))


def test_an_experiment_runs_every_stage_for_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = CommandLine()
    monkeypatch.setattr(experiment.subprocess, "run", stand_in)
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path))
    planned = experiment.Experiment(name="x", overrides=["data.path=$SUFFUSE_DATA/d"], seeds=(0, 1), draws=50)
    options = Options(quick=False, runs=tmp_path / "runs", results=tmp_path / "results")
    outcomes, findings = experiment.conduct(planned, options)
    assert [words[0] for words in stand_in.typed] == [*experiment.STAGES, *experiment.STAGES]
    assert f"data.path={tmp_path.resolve()}/d" in stand_in.typed[0]
    assert "$SUFFUSE_DATA" in str(findings.settings["trained by"])
    assert findings.tables[0].rows[0] == [
        "coverage",
        pytest.approx(0.85),
        pytest.approx(0.95),
        "higher",
        0.9,
        0.8,
    ]
    with Image.open(tmp_path / "results" / "x.png") as kept:
        assert kept.width < 2000
        assert kept.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert len(outcomes) == 2
    assert experiment.trained(outcomes, 4.5).met
    assert not experiment.trained(outcomes, 4).met


@pytest.mark.parametrize("stage", experiment.STAGES)
def test_an_experiment_goes_on_where_it_was_cut_off(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages that are done are not done again, and keep their times; one that was cut off is done anew."""
    stand_in = CommandLine(broken=stage)
    monkeypatch.setattr(experiment.subprocess, "run", stand_in)
    planned = experiment.Experiment(name="x", overrides=["a=1"], seeds=(0, 1), draws=50)
    options = Options(quick=False, runs=tmp_path / "runs", results=None)
    with pytest.raises(KeyboardInterrupt):
        experiment.conduct(planned, options)
    outcomes, _ = experiment.conduct(planned, options)
    before = list(experiment.STAGES[: experiment.STAGES.index(stage) + 1])
    after = list(experiment.STAGES[experiment.STAGES.index(stage) :])
    assert [words[0] for words in stand_in.typed] == [*before, *after, *experiment.STAGES]
    assert all(outcome.seconds.keys() == set(experiment.STAGES) for outcome in outcomes)
    assert experiment.conduct(planned, options)[0] == outcomes
    assert len(stand_in.typed) == 9


def test_an_experiment_that_changed_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = CommandLine()
    monkeypatch.setattr(experiment.subprocess, "run", stand_in)
    options = Options(quick=False, runs=tmp_path / "runs", results=None)
    experiment.conduct(experiment.Experiment(name="x", overrides=["a=1"], seeds=(0,), draws=50), options)
    with pytest.raises(AssertionError, match="folder of its own"):  # as `suffuse train` itself would refuse it
        experiment.conduct(experiment.Experiment(name="x", overrides=["a=2"], seeds=(0,), draws=50), options)


def test_a_voice_counts_where_it_is_the_nearest() -> None:
    """Whose sounds are joined decides; the speaker that was not trained on is left out of the share."""
    tones = {s: np.float32(np.eye(8)[place] + 0.1) for place, s in enumerate(voice.SPEAKERS)}
    takes = {(s, take): [tones[s]] * 10 for s in voice.SPEAKERS for take in range(15)}
    made: dict[str, list[voice.Digits]] = {s: [[tones[s]] * 10] * 4 for s in voice.SPEAKERS}
    made["george"] = [[tones["theo"]] * 10, *made["george"][1:]]
    made[voice.STRANGER] = [[tones["theo"]] * 10] * 4
    bar, table = voice.judged(lambda sounds: np.sum(sounds, 0) / np.linalg.norm(np.sum(sounds, 0)), takes, made)
    assert bar.found == pytest.approx(19 / 20)
    shares = {str(row[0]): row[1:3] for row in table.rows}
    assert shares["george"] == [0.75, 1.0]
    assert shares[f"{voice.STRANGER} (not trained on)"] == [0.0, 1.0]
    assert shares["the five trained on"] == [pytest.approx(0.95), 1.0]


def test_absent_data_name_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "absent"))
    planned = experiment.Experiment(name="x", overrides=["data.path=$SUFFUSE_DATA/d"], seeds=(0,), draws=50)
    with pytest.raises(Skipped, match=r"absent.*SUFFUSE_DATA"):
        experiment.conduct(planned, Options(quick=True, runs=tmp_path, results=None))
