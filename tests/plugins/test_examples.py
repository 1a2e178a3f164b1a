"""The plugins under ``examples``: distributions of their own that fit on a page and pass what any plugin must."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.distributions import importable, unpack

import suffuse
from suffuse.plugins import Registry
from suffuse.scaffold import KINDS, files
from suffuse.testing import tasks
from suffuse.testing.console import outcome

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("points", "text")
KILLS = ("a_killed_run_goes_on", "components_leave_the_process_alone")
"""Checks in processes of their own, which take long; `test_new` has them run on a plugin."""


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    for name in NAMES:
        unpack(EXAMPLES / name, site)
    with importable(site):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_on_a_page(name: str) -> None:
    package = EXAMPLES / name / f"suffuse_{name}"
    lines = {
        kind: sum(len(file.read_text().splitlines()) for file in package.rglob(f"*.{kind}")) for kind in ("py", "yaml")
    }
    assert 0 < lines["py"] <= 80
    assert 0 < lines["yaml"] <= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_conforms(name: str) -> None:
    known = [task for task in tasks(name) if task.check.name not in KILLS]
    assert len(known) > 15
    results = {task.label: outcome(task) for task in known}
    failed = {label: line for label, (state, line) in results.items() if state not in ("ok", "-", "known")}
    assert not failed


@pytest.mark.slow
def test_text_is_written_as_text(tmp_path: Path) -> None:
    words = ["modality=text", "backbone.width=16", "trainer.steps=3", "trainer.batch_size=8", "sampler.steps=3"]
    run = suffuse.train(suffuse.compose(*words, "callbacks=none"), tmp_path / "run")
    from suffuse.commands.sample import sample

    folder = sample(suffuse.compose(f"run={run.directory}", "n=3", "compute_batch=3", command="sample"))
    made = sorted(folder.glob("*.txt"))
    assert len(made) == 3
    line, record = made[0].read_text().splitlines()
    assert 0 < len(line) <= 40
    assert "trainedAlgorithmicMedia" in record
    decoder = Registry().build("decoder", {"name": "letters"}, plugin="text")
    assert decoder.load(made[0], {}) == line
    assert "<pre" in decoder.html(line)
    scores = suffuse.evaluate(suffuse.compose(f"run={run.directory}", "n=4", command="evaluate"))
    assert [score.name for score in scores] == ["known words"]
    assert scores[0].real > 0.8


def foreign(sources: Iterable[str]) -> set[str]:
    """The modules of suffuse that code imports and that are not for plugins, by the rule that our own keep to."""
    contracts = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (inside,) = (c["forbidden_modules"] for c in contracts if c["name"] == "plugins use the public interface")
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if any(f"{name}.".startswith(f"{module}.") for module in inside)}


def test_they_are_made_of_what_is_public() -> None:
    examples = [file.read_text() for name in NAMES for file in (EXAMPLES / name).rglob("*.py")]
    written = [text for kind in KINDS for path, text in files("waves", kind).items() if path.endswith(".py")]
    assert not foreign([*examples, *written])
    assert foreign(["from suffuse.sampling.solvers import Solver"]) == {"suffuse.sampling.solvers"}


def test_outlines_lie_around_their_centre() -> None:
    source = Registry().build("data", {"name": "shapes", "count": 50}, plugin="points")
    for cloud in source.train.some():
        np.testing.assert_allclose(cloud.mean(0), 0, atol=1e-9)
        assert 16 <= len(cloud) <= 40
