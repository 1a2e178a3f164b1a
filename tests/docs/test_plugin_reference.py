"""What the documentation says of hooks and contracts is what the code says."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from suffuse.plugins import hookspecs
from suffuse.testing.reference import reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_reference_is_current() -> None:
    """`make reference` writes it."""
    assert (ROOT / "docs" / "plugins" / "reference.md").read_text(encoding="utf-8") == reference()


def wrong_hooks(text: str) -> Iterator[str]:
    """Hooks in the Python of a page that are unknown, or take an argument that the hook does not have."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("suffuse_"):
                hook = getattr(hookspecs, node.name, None)
                known = set(inspect.signature(hook).parameters) if hook else set()
                if hook is None or not {argument.arg for argument in node.args.args} <= known:
                    yield node.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_hooks_in_examples_are_those_of_the_code(page: Path) -> None:
    assert list(wrong_hooks(page.read_text(encoding="utf-8"))) == []


def test_a_wrong_hook_is_noticed() -> None:
    head = "```python\ndef suffuse_"
    assert list(wrong_hooks(f"{head}components():\n    pass\n```")) == []
    assert list(wrong_hooks(f"{head}komponents():\n    pass\n```")) == ["suffuse_komponents"]
    assert list(wrong_hooks(f"{head}components(colour):\n    pass\n```")) == ["suffuse_components"]


def test_every_kind_and_every_hook_is_in_it() -> None:
    text = reference()
    for name in (name for name in vars(hookspecs) if name.startswith("suffuse_")):
        assert f"### {name}\n" in text
        assert f"def {name}{inspect.signature(getattr(hookspecs, name))}".replace("'", "") in text


def closed() -> set[str]:
    """The modules of the core that plugins must not import, by the rule that our own keep to."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (modules,) = (each["forbidden_modules"] for each in contracts if each["name"] == "plugins use the public interface")
    return set(modules)


def test_every_module_is_either_public_or_closed() -> None:
    folder = ROOT / "core" / "suffuse"
    parts = [*folder.glob("[a-z]*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
    listed = set(re.findall(r"^### (suffuse\.\w+)$", reference(), re.M))
    assert listed | closed() == {f"suffuse.{path.stem}" for path in parts}
    assert not listed & closed()
