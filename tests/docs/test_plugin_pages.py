"""What the pages on plugins show is what is tested elsewhere: the files of an example, and those of ``suffuse new``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.distributions import PAGE, unpack

from suffuse.scaffold import KINDS, files

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "plugins"
POINTS = ROOT / "examples" / "points"


def shown(page: str) -> dict[str, str]:
    """The blocks that stand below the name of a file, by that name."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w/.-]+)`\n\n```\w+\n(.*?)^```", text, re.M | re.S))


def test_the_tutorial_shows_the_whole_example() -> None:
    own = [*POINTS.glob("suffuse_points/**/*.py"), *POINTS.glob("suffuse_points/**/*.yaml"), *POINTS.glob("tests/*.py")]
    files = {path.relative_to(POINTS).as_posix(): path.read_text() for path in [POINTS / "pyproject.toml", *own]}
    assert shown("tutorial.md") == files


def test_the_files_of_the_tutorial_are_a_distribution(tmp_path: Path) -> None:
    for path, text in {**shown("tutorial.md"), "README.md": "# Points"}.items():
        (tmp_path / "new" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / path).write_text(text)
    unpack(tmp_path / "new", tmp_path / "site")
    code = (
        "from suffuse import Registry, compose; from suffuse.assembly import build_data;"
        "config, registry = compose('modality=points', 'data.count=20'), Registry();"
        "data = build_data(config, registry);"
        "decoder = registry.build('decoder', config['decoder'], plugin='points'); print(decoder.fields(data.train))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "ZeroCenterOfMass" in done.stdout


def test_the_tutorial_counts_its_lines() -> None:
    lines = {
        kind: sum(len(p.read_text().splitlines()) for p in POINTS.glob(f"suffuse_points/**/*.{kind}"))
        for kind in ("py", "yaml")
    }
    said = f"{lines['py']} lines of Python and {lines['yaml']} of YAML"
    for page in (PAGES / "tutorial.md", POINTS / "README.md", ROOT / "README.md"):
        assert said in " ".join(page.read_text().split())


@pytest.mark.parametrize(("name", "kind"), PAGE.items())
def test_components_are_shown_as_they_are_written(name: str, kind: str) -> None:
    written = files(name, kind)
    own = {path: text for path, text in shown("components.md").items() if path.startswith(f"suffuse_{name}/")}
    assert {f"suffuse_{name}/{kind}.py"} < set(own)
    assert any(path.endswith(".yaml") for path in own)
    for path, text in own.items():
        assert text == written[path], path


def test_every_kind_has_its_section() -> None:
    assert set(PAGE.values()) == set(KINDS) - {"modality"}


def test_a_page_that_drifts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        globals(), "shown", lambda page: {"suffuse_dense/backbone.py": "x = 1\n", "suffuse_dense/a.yaml": ""}
    )
    with pytest.raises((AssertionError, KeyError)):
        test_components_are_shown_as_they_are_written("dense", "backbone")
