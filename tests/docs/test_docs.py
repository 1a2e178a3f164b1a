"""The documentation holds what it says: links lead somewhere, commands compose, Python runs, numbers have a source."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from suffuse import compose

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands() -> list[tuple[str, str]]:
    """Every ``suffuse train|sample|evaluate|report`` line of the documentation, with its page."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                if re.match(r"suffuse (train|sample|evaluate|report) ", line):
                    found.append((page.name, line.split("  #")[0].strip()))
    return found


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}, which has no such heading"


def test_pictures_have_alternative_text() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"!\[\s*\]\(", text), f"{page.name}: a picture without alternative text"
        assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", text)), f"{page.name}: an <img> without alt"


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value[:60])
def test_commands_compose(page: str, line: str) -> None:
    _, command, *words = shlex.split(line)
    if "--multirun" in words or any(word.startswith("resume=") for word in words):
        words = [word.split(",")[0] for word in words if not word.startswith(("--", "resume="))]
        words += [] if any(word.startswith("modality=") for word in words) else ["modality=image"]
    compose(*(word for word in words if not word.startswith("--")), command=command)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_valid(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.slow
def test_python_of_the_first_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    short = block.replace('"trainer.steps=2000"', '"trainer.steps=2", "backbone=unet_tiny"')
    assert short != block
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(short, "README.md", "exec"), names)
    assert len(names["images"]) == 16
    assert names["images"][0].shape == (1, 8, 8)


@pytest.mark.slow
def test_the_example_from_objects_runs(tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "from_objects.py"))["main"]
    main(steps=2, directory=tmp_path / "run")
    assert (tmp_path / "run" / "threes.png").is_file()


def test_public_names_that_the_docs_use_exist() -> None:
    import suffuse

    for page in PAGES:
        for name in re.findall(r"\bsuffuse\.(\w+)\(", "\n".join(blocks(page, "python"))):
            assert hasattr(suffuse, name), f"{page.name} uses suffuse.{name}"
