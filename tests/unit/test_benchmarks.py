"""The harness of the benchmarks: what is printed and recorded is what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as entry
from benchmarks import experiment
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
    return experiment.Outcome(directory=Path(), seconds={"train": seconds}, scores={"memorised share": score})


def test_bars_take_the_mean_of_scores_and_the_slowest_time() -> None:
    outcomes = [outcome(0.50, 0.48, 60), outcome(0.46, 0.44, 180)]
    assert experiment.least(outcomes, "memorised share", 0.48).met
    assert not experiment.least(outcomes, "memorised share", 0.49).met
    assert experiment.margin(outcomes, "memorised share", 0.03).met
    assert not experiment.margin(outcomes, "memorised share", 0.01).met
    assert experiment.minutes(outcomes, ["train"], 3).met
    assert not experiment.minutes(outcomes, ["train"], 2).met


def test_an_experiment_runs_every_stage_for_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[list[str]] = []

    def stand_in(command: list[str], **settings: Any) -> None:
        typed.append(command[3:])
        place = next(word.partition("=")[2] for word in command if word.startswith(("hydra.run.dir=", "run=")))
        directory = Path(place)
        (directory / "sheet").mkdir(parents=True, exist_ok=True)
        (directory / "sheet" / "sheet.png").write_bytes(b"png")
        (directory / "run.json").write_text(json.dumps({"parameters": 7, "seconds": 270}))
        value = 0.9 if place.endswith("seed0") else 0.8
        score = {"name": "coverage", "value": value, "real": 0.95, "better": "higher", "about": ""}
        (directory / "evaluation.json").write_text(json.dumps({"scores": [score]}))

    monkeypatch.setattr(experiment.subprocess, "run", stand_in)
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path))
    planned = experiment.Experiment(name="x", overrides=["data.path=$SUFFUSE_DATA/d"], seeds=(0, 1), draws=50)
    options = Options(quick=False, runs=tmp_path / "runs", results=tmp_path / "results")
    outcomes, findings = experiment.conduct(planned, options)
    assert [words[0] for words in typed] == [*experiment.STAGES, *experiment.STAGES]
    assert f"data.path={tmp_path.resolve()}/d" in typed[0]
    assert "$SUFFUSE_DATA" in str(findings.settings["trained by"])
    assert findings.tables[0].rows[0] == [
        "coverage",
        pytest.approx(0.85),
        pytest.approx(0.95),
        "higher",
        0.9,
        0.8,
    ]
    assert (tmp_path / "results" / "x.png").read_bytes() == b"png"
    assert len(outcomes) == 2
    assert experiment.trained(outcomes, 4.5).met
    assert not experiment.trained(outcomes, 4).met


def test_absent_data_name_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "absent"))
    planned = experiment.Experiment(name="x", overrides=["data.path=$SUFFUSE_DATA/d"], seeds=(0,), draws=50)
    with pytest.raises(Skipped, match=r"absent.*SUFFUSE_DATA"):
        experiment.conduct(planned, Options(quick=True, runs=tmp_path, results=None))
