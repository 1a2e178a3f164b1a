"""Configurations of strangers, and settings that are typed, that would run something or are none."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.hostile_inputs.case import ACT, CANARY, Case
from benchmarks.hostile_inputs.entries import loaded
from suffuse import compose
from suffuse.cli import main
from suffuse.errors import SuffuseError

__all__ = ["ACTING", "configurations", "folders_of_configuration"]

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
"""Nine times nine times ... of two letters: a few hundred bytes that unfold to a million."""

ACTING: Mapping[str, tuple[int, Any]] = {
    "os.system": (69, {"_target_": "os.system", "command": ACT}),
    "pathlib.Path.touch": (
        69,
        {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [CANARY]}},
    ),
    "builtins.open": (69, {"_target_": "builtins.open", "file": CANARY, "mode": "w"}),
    "subprocess.run": (69, {"_target_": "subprocess.run", "args": ["touch", CANARY]}),
    "an interpolation of the environment": (70, {"path": "${oc.env:HOME}"}),
}


def configurations(run: Path) -> Iterator[Case]:
    """The configuration of a stranger's run, and settings that are typed."""
    make = partial(Case, kind="configurations")

    def replaced(content: bytes, folder: Path) -> None:
        shutil.copytree(run, folder / "run")
        (folder / "run" / "config.yaml").write_bytes(content)

    texts: dict[str, tuple[int, bytes]] = {
        "an alias bomb": (72, BOMB.encode()),
        "lists nested 2,000 deep": (73, b"a: " + b"[" * 2000 + b"]" * 2000),
        "mappings nested 20,000 deep": (73, b"{a: " * 20_000 + b"1" + b"}" * 20_000),
        "a tag of Python": (74, f"a: !!python/object/apply:os.system ['{ACT}']\n".encode()),
        "a key twice": (75, b"modality: {name: image}\nmodality: {name: audio}\n"),
        "a tab": (79, b"a:\n\tb: 1\n"),
        "no UTF-8": (82, "a: für\n".encode("latin-1")),
        "megabytes": (72, b"#" * 5_000_000 + b"\n"),
        "a list": (81, b"- 1\n"),
        "nothing": (81, b""),
        "no modality": (81, b"seed: 1\n"),
        "a modality that is a number": (81, b"modality: 3\n"),
        "another modality": (96, b"modality: {name: audio}\n"),
    }
    for name, (item, text) in texts.items():
        write = partial(replaced, text)
        yield make(name=f"config.yaml: {name}", item=item, write=write, meet=loaded, says="config.yaml")
    for name, (item, part) in ACTING.items():
        data = yaml.safe_dump({"modality": {"name": "image"}, "backbone": part}).encode()
        yield make(
            name=f"config.yaml: {name}", item=item, write=partial(replaced, data), meet=loaded, says="config.yaml"
        )

    def recorded(line: str, folder: Path) -> None:
        (folder / "run" / ".hydra").mkdir(parents=True)
        (folder / "run" / ".hydra" / "overrides.yaml").write_text(json.dumps(["modality=image", line]))

    for name, item, line in (
        ("a target", 69, f"+data.x={{_target_: os.system, command: {ACT}}}"),
        ("a callback of Hydra", 69, "+hydra.callbacks.x._target_=os.system"),
        ("the environment", 70, "data.path=${oc.env:HOME}"),
    ):
        yield make(
            name=f"a run to be resumed: {name}",
            item=item,
            write=partial(recorded, line),
            meet=resumed,
            says="overrides.yaml",
        )
    typed: dict[str, tuple[int | None, Sequence[str], str]] = {
        "an interpolation in a circle": (
            71,
            ["trainer.steps=${trainer.warmup}", "trainer.warmup=${trainer.steps}"],
            "trainer.",
        ),
        "a learning rate that is no number": (76, ["trainer.lr=.nan"], "trainer.lr"),
        "an infinite learning rate": (76, ["trainer.lr=.inf"], "trainer.lr"),
        "no for a number": (77, ["trainer.steps=no"], "trainer.steps"),
        "22:30 for a number": (77, ["trainer.steps=22:30"], "trainer.steps"),
        "no value": (78, ["data=folder"], "data.path"),
        "an unknown key": (81, ["trainer.stepz=3"], "stepz"),
        "text for a number": (81, ["trainer.steps=many"], "trainer.steps"),
        "a negative batch": (81, ["trainer.batch_size=-4"], "trainer.batch_size"),
        "infinite steps": (81, ["trainer.steps=inf"], "trainer.steps"),
        "10^30 steps": (81, ["trainer.steps=1e30"], "trainer.steps"),
        "an open bracket": (None, ["trainer.betas=[0.9"], "trainer.betas"),
        "a modality outside": (80, ["modality=../../x"], "modality"),
        "a group outside": (80, ["data=../../../etc/passwd"], "data"),
        "an unknown backbone": (96, ["backbone.name=os.system"], "backbone"),
    }
    for name, (number, words, says) in typed.items():
        given = words if any(word.startswith("modality=") for word in words) else ["modality=image", *words]
        yield make(name=f"typed: {name}", item=number, write=nothing, meet=partial(begun, words=given), says=says)
    yield make(name="typed: 012 for a number", item=77, write=nothing, sound=True,
               meet=partial(composed, words=["modality=image", "trainer.steps=012"]), says="trainer.steps")  # fmt: skip
    yield make(name="config.yaml: a byte order mark", item=82, sound=True, meet=loaded,
               write=partial(marked, run), says="config.yaml")  # fmt: skip


def nothing(folder: Path) -> None:
    """It is all in the words."""


def marked(run: Path, folder: Path) -> None:
    """A run whose configuration was saved by another editor."""
    shutil.copytree(run, folder / "run")
    file = folder / "run" / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


def composed(folder: Path, words: Sequence[str]) -> int:
    """A configuration of typed words."""
    compose(*words)
    return 0


def begun(folder: Path, words: Sequence[str]) -> None:
    """Train as the command line would, with words of which one is bad."""
    ordered(["train", *words, "callbacks=none", "device=cpu", f"hydra.run.dir={folder / 'run'}"])


def resumed(folder: Path) -> None:
    """Go on with a run."""
    ordered(["train", f"resume={folder / 'run'}"])


def ordered(words: Sequence[str]) -> None:
    """The command line, whose one line on standard error is raised."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    if code == 2:
        raise SuffuseError(said.getvalue().strip())
    raise AssertionError(f"left with code {code}: {said.getvalue()[-200:]}")


def folders_of_configuration() -> Iterator[Case]:
    """YAML of somebody else that is to join the configuration."""
    texts: dict[str, tuple[int, str]] = {
        "a callback of Hydra": (69, "hydra:\n  callbacks:\n    x: {_target_: os.system}\n"),
        "a target": (69, f"data: {{_target_: os.system, command: {ACT}}}\n"),
        "the environment": (70, "seed: ${oc.env:SEED}\n"),
        "an alias bomb": (72, BOMB),
        "an absolute path": (80, "data:\n  path: /etc/passwd\n"),
        "a path outside": (80, "data:\n  path: a/../../b\n"),
        "a search path": (80, "hydra:\n  searchpath: ['file:///tmp/more']\n"),
    }

    def write(text: str, folder: Path) -> None:
        (folder / "theirs").mkdir()
        (folder / "theirs" / "bad.yaml").write_text(text)

    def meet(folder: Path) -> None:
        ordered(["train", "modality=image", "--config-dir", str(folder / "theirs")])

    for name, (item, text) in texts.items():
        yield Case(kind="configurations", name=f"a folder: {name}", item=item, write=partial(write, text), meet=meet)
