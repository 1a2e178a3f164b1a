"""``suffuse new``: what it writes installs, conforms and trains; what cannot be is one line, and nothing is written."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.distributions import importable, unpack

import suffuse
from suffuse import scaffold
from suffuse.cli import main
from suffuse.errors import ConfigError
from suffuse.scaffold import KINDS, create, files
from suffuse.testing import tasks
from suffuse.testing.console import outcome

RUNS = ("a_run_is_made_from_the_command_line", "a_killed_run_goes_on", "components_leave_the_process_alone")
"""Checks that take long; those of the modality below are run from its own tests."""
PARTS = [kind for kind in KINDS if kind != "modality"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distribution of each kind, named after it."""
    folder = tmp_path_factory.mktemp("made")
    for kind in KINDS:
        create(f"my_{kind}", kind, folder)
    return folder


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    for kind in KINDS:
        unpack(made / f"suffuse-my-{kind}", site)
    with importable(site):
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_whole_and_sound(kind: str, made: Path) -> None:
    folder = made / f"suffuse-my-{kind}"
    written = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert written == files(f"my_{kind}", kind)
    assert {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml"} <= set(written)
    assert {f"suffuse_my_{kind}/plugin.py", "tests/test_conformance.py"} <= set(written)
    for path, text in written.items():
        assert "{{" not in text.replace("${{", "")
        assert "NAME" not in path
        if path.endswith(".py"):
            ast.parse(text)
        elif path.endswith((".yaml", ".yml")):
            yaml.safe_load(text)
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["entry-points"]["suffuse.plugins"] == {f"my_{kind}": f"suffuse_my_{kind}.plugin"}
    major, minor = suffuse.__version__.split(".")[:2]
    assert project["dependencies"] == [f"suffuse>={major}.{minor},<{major}.{int(minor) + 1}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARTS)
def test_each_kind_conforms(kind: str, installed: None) -> None:
    known = [task for task in tasks(f"my_{kind}") if task.check.name not in RUNS]
    assert len(known) > 6
    results = {task.label: outcome(task) for task in known}
    assert {state for state, _ in results.values()} <= {"ok", "-"}, results


@pytest.mark.slow
def test_a_modality_is_installed_beside_the_environment_and_works(tmp_path: Path) -> None:
    """As an author would: pip builds and installs it, its own tests pass, and the command line trains and samples."""
    assert main(["new", "surf", "--in", str(tmp_path)]) == 0
    source, site, run = tmp_path / "suffuse-surf", tmp_path / "site", tmp_path / "run"
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    quietly(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    quietly(*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    beside = {"PYTHONPATH": str(site)}
    assert "surf" in quietly("-m", "suffuse", "plugins", **beside)
    out = quietly("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=source, **beside)
    assert " passed" in out
    assert "failed" not in out
    quietly("-m", "suffuse", "train", "modality=surf", "trainer.steps=400", f"hydra.run.dir={run}", **beside)
    quietly("-m", "suffuse", "sample", f"run={run}", "n=4", f"out={tmp_path / 'out'}", **beside)
    assert len(list((tmp_path / "out").glob("*.csv"))) == 4
    loss = [line["loss"] for line in suffuse.Run(run).metrics() if "loss" in line]
    assert loss[-1] < 0.7 * loss[0]


def quietly(*words: str, cwd: Path | None = None, **environment: str) -> str:
    """What Python prints."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_without_a_metric_there_is_the_likelihood(installed: None, tmp_path: Path) -> None:
    words = ["modality=my_modality", "trainer.steps=3", "data.count=40", "sampler.steps=3", "callbacks=none"]
    run = suffuse.train(suffuse.compose(*words), tmp_path / "run")
    with pytest.raises(ConfigError, match="my_modality brings no metric"):
        suffuse.evaluate(suffuse.compose(f"run={run.directory}", "n=4", command="evaluate"))
    scores = suffuse.evaluate(suffuse.compose(f"run={run.directory}", "n=4", "likelihood=2", command="evaluate"))
    assert len(scores) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["My-Waves"], "such as my_waves"),
        (["3d"], "small letters"),
        (["", "--kind", "data"], "small letters"),
        (["../evil"], "such as evil"),
        (["a" * 60], "small letters"),
        (["image"], "installed plugin"),
        (["suffuse"], "something else"),
        (["null"], "something else"),
        (["grid"], "something else"),
        (["waves", "--kind", "backbon"], "'backbone'"),
        (["waves", "--kind"], "suffuse new NAME"),
        (["waves", "--in"], "suffuse new NAME"),
        (["waves", "--inn", "x"], "'--in'"),
        (["waves", "more"], "suffuse new NAME"),
        ([], "suffuse new NAME"),
        (["waves", "--in", "missing"], "missing"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "suffuse-waves").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        create("waves", where=tmp_path)
    assert not list((tmp_path / "suffuse-waves").iterdir())


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files("waves", "modality")

    def broken(name: str, kind: str) -> dict[str, str]:
        return {**whole, "suffuse_waves": "a file where the package is a folder"}

    monkeypatch.setattr(scaffold, "files", broken)
    with pytest.raises(ConfigError, match="cannot be made"):
        create("waves", where=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_stays_behind_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suffuse.scaffold.shutil.rmtree", lambda *given, **options: None)
    with pytest.raises(AssertionError):
        test_nothing_is_left_half_written(tmp_path, monkeypatch)
