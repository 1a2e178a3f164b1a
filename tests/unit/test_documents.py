"""Files of strangers are data: nothing in them runs, resolves, unfolds or reaches outside; each refusal is quick."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from suffuse import documents
from suffuse.cli import main
from suffuse.documents import dump_yaml, read_json, read_yaml, vet_configuration, vet_folder, vet_override
from suffuse.errors import ConfigError, RunError, SuffuseError
from suffuse.runs import Run
from suffuse.training import Checkpoint, Checkpoints

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
)
"""Nine times nine times ... of two letters: a few hundred bytes that unfold to a million."""

UNREADABLE = {
    "alias bomb": (BOMB, r"aliases \(\*a\) are refused"),
    "alias": ("a: &x 1\nb: *x\n", r"line 2: aliases \(\*x\) are refused"),
    "python tag": ("a: !!python/object/apply:os.system ['touch canary']\n", "tag .*os.system is refused"),
    "own tag": ("a: !thing 1\n", "tag !thing is refused"),
    "binary tag": ("a: !!binary aGk=\n", "tag .*binary is refused"),
    "depth": ("a: " + "[" * 2000 + "]" * 2000, "nested deeper than 64"),
    "depth of mappings": ("".join(f"{' ' * i}k:\n" for i in range(200)), "nested deeper than 64"),
    "key twice": ("lr: 1\nlr: 2\n", "the key 'lr' is there twice"),
    "tab": ("a:\n\tb: 1\n", "not readable"),
    "two documents": ("a: 1\n---\nb: 2\n", "not readable"),
    "not text": ("a: \x00\n", "not readable"),
    "size": ("#" * (1 << 16) + "\na: 1\n", "more than the"),
    "a tag at the end of all that is read": ("- a\n" * 16_000 + "- !thing 1\n", "tag !thing is refused"),
}

REFUSED = {
    "target": ({"backbone": {"_target_": "os.system"}}, r"backbone\._target_: .*never code"),
    "target in a list": ({"callbacks": [{"_target_": "pathlib.Path.touch"}]}, r"callbacks\.0\._target_: .*never code"),
    "partial": ({"_partial_": True}, "_partial_: .*never code"),
    "arguments": ({"data": {"_args_": ["canary"]}}, r"data\._args_\.0: .*never code"),
    "environment": ({"data": {"path": "${oc.env:HOME}"}}, r"data\.path=.*resolvers are refused"),
    "inside a text": ({"note": "x ${ oc.env:SECRET } y"}, "note=.*resolvers are refused"),
    "any resolver": ({"a": "${eval:1+1}"}, "a=.*resolvers are refused"),
    "a resolver put together": ({"data": {"path": "${oc.${data.mode}:HOME}"}}, r"data\.path=.*resolvers are refused"),
    "a resolver found elsewhere": ({"a": "${${b}:HOME}", "b": "oc.env"}, "a=.*resolvers are refused"),
}


@pytest.fixture(autouse=True)
def _quick_and_without_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test reads takes under a second and leaves no canary."""
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    yield
    assert time.process_time() - began < 1.0
    assert not (tmp_path / "canary").exists()


def refused(kind: type[SuffuseError], message: str, make: Callable[[], object]) -> None:
    with pytest.raises(kind, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", UNREADABLE)
def test_yaml_that_is_more_than_data(tmp_path: Path, case: str) -> None:
    text, message = UNREADABLE[case]
    file = tmp_path / "config.yaml"
    file.write_text(text)
    refused(RunError, rf"config\.yaml: .*{message}", lambda: read_yaml(file))


@pytest.mark.parametrize("case", REFUSED)
def test_configurations_that_would_act(case: str) -> None:
    data, message = REFUSED[case]
    refused(RunError, message, lambda: vet_configuration(data, "here"))


def test_what_a_run_writes_is_read_back(tmp_path: Path) -> None:
    """The same object twice too, for which a plain dumper writes an alias; a reader without care is the mutant."""
    shared = [1, 2]
    data = {"a": shared, "b": {"c": shared, "d": None, "e": 1e-3, "f": "ü ${a} no", "g": {}}, "yes": "no"}
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(data), encoding="utf-8")
    assert read_yaml(file) == data
    vet_configuration(read_yaml(file), file)
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    refused(RunError, "aliases", lambda: read_yaml(file))


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    refused(RunError, "none.yaml: not readable", lambda: read_yaml(tmp_path / "none.yaml"))
    refused(RunError, "not readable", lambda: read_yaml(tmp_path))
    (tmp_path / "latin.yaml").write_bytes("a: ü".encode("latin-1"))
    refused(RunError, "not UTF-8", lambda: read_yaml(tmp_path / "latin.yaml"))
    (tmp_path / "mark.yaml").write_bytes("a: 1".encode("utf-8-sig"))
    assert read_yaml(tmp_path / "mark.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("{", "not readable"),
        ("", "not readable"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(text)
    refused(RunError, message, lambda: read_json(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "defaults: [{override /hydra/launcher: basic}]\nhydra:\n  callbacks:\n    x: {_target_: os.system}",
            "never code",
        ),
        ("data:\n  path: /etc/passwd", r"data\.path=/etc/passwd: a path outside is refused"),
        ("data:\n  path: ~/private", "a path outside"),
        ("data:\n  path: a/../../b", "a path outside"),
        ("data:\n  path: C:\\x", "a path outside"),
        ("hydra:\n  searchpath: ['file:///tmp/more']", r"hydra\.searchpath\.0=.*a path outside"),
        ("seed: ${oc.env:SEED}", "resolvers are refused"),
        (BOMB, "aliases"),
    ],
)
def test_a_folder_of_configuration_of_somebody_else(tmp_path: Path, text: str, message: str) -> None:
    """Refused by the check, and by the command line before Hydra opens a file."""
    folder = tmp_path / "theirs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "fine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /sampler: ddim\nseed: 3\nlr: ${trainer.lr}\n"
    )
    vet_folder(tmp_path / "theirs")
    (folder / "good.yaml").write_text(text)
    refused(ConfigError, rf"good\.yaml: .*{message}", lambda: vet_folder(tmp_path / "theirs"))


def test_the_command_line_looks_before_hydra_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x.yaml").write_text("hydra:\n  job_logging: {_target_: pathlib.Path.touch}\n")
    for flags in (["--config-dir", "theirs"], ["--config-dir=theirs"], ["-cd", "theirs"]):
        assert main(["train", "modality=image", *flags]) == 2
        error = capsys.readouterr().err
        assert "hydra.job_logging._target_" in error
        assert error.count("\n") == 1
    assert main(["train", "modality=image", "-cd", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("+hydra.callbacks.x._target_=os.system", "Hydra itself is refused"),
        ("hydra/job_logging=none", "Hydra itself is refused"),
        ("+data.x={_target_: os.system}", "never code"),
        ("data.path=${oc.env:HOME}", "resolvers are refused"),
        ("data.path=${${data.name}:HOME}", "resolvers are refused"),
    ],
)
def test_a_run_that_would_act_when_it_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    refused(RunError, message, lambda: vet_override(line, "overrides.yaml"))
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text(json.dumps(["modality=image", line]))
    assert main(["train", f"resume={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert "overrides.yaml" in error
    assert message in error


def test_a_run_of_a_stranger(tmp_path: Path) -> None:
    """Its configuration and its checkpoints are vetted where they are read."""
    run = Run(tmp_path / "run")
    run.begin({"modality": {"name": "image"}, "seed": 1})
    assert run.config["seed"] == 1
    place = Checkpoints(run.directory / "checkpoints")
    for data, message in REFUSED.values():
        run.configure({"modality": {"name": "image"}, **data})
        refused(RunError, f"config.yaml: {message}", lambda: run.config)
        place.save(Checkpoint(step=1, tensors={"model": {"w": torch.zeros(1)}}, state={"config": data}))
        refused(RunError, f"state.json: {message}", lambda: place.load(1))


def test_a_reader_without_bounds_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(UNREADABLE["alias"][0])
    monkeypatch.setattr(documents, "_check_events", lambda text, path: None)
    with pytest.raises(pytest.fail.Exception):
        refused(RunError, "aliases", lambda: read_yaml(file))
