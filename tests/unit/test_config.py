"""Configuration: what is shipped composes, is commented, and says the same as the code that it configures."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from omegaconf import OmegaConf

from suffuse.composition import compose, conf_folder
from suffuse.errors import ConfigError, PluginError
from suffuse.fitting import Range, fit
from suffuse.plugins import CORE, Registry
from suffuse.settings import COMMANDS, TrainerSettings, check

ROOTS = {CORE: conf_folder(), **{n: f.conf for n, f in Registry().found.items() if f.conf}}
FILES = [(owner, path) for owner, root in ROOTS.items() for path in sorted(root.rglob("*.yaml"))]
# Arguments that the program gives, by kind of component.
GIVEN = {"backbone": {"fields"}, "grid": {"steps", "schedule", "start"}, "guidance": {"denoiser", "load", "build"}}
# Keys beside a component's own.
BESIDE = {"solver": {"steps", "grid", "categorical"}}
GROUP_KINDS = {"data": "data", "backbone": "backbone", "decoder": "decoder", "metric": "metric", "guidance": "guidance"}


def label(value: Any) -> str | None:
    return "/".join(value.parts[-3:]) if isinstance(value, Path) else None


def components() -> Iterator[tuple[str, str, str]]:
    """(owner, group, option) of every YAML file that configures one component."""
    for owner, path in FILES:
        group = path.relative_to(ROOTS[owner]).parts[0]
        if group in GROUP_KINDS:
            yield owner, group, path.relative_to(ROOTS[owner] / group).with_suffix("").as_posix()


def check_component(kind: str, config: Mapping[str, Any], plugin: str | None) -> None:
    """The keys are the constructor's, and all of them."""
    factory = Registry().find(kind, config["name"], plugin=plugin)
    parameters = inspect.signature(factory).parameters
    settings = set(parameters) - GIVEN.get(kind, set())
    keys = set(config) - {"name"} - BESIDE.get(kind, set())
    optional = {n for n in settings if kind == "grid"}  # a grid's finer settings may be left to it
    assert keys <= settings
    assert settings - optional <= keys
    for key in keys:
        default = parameters[key].default
        if default is inspect.Parameter.empty:
            continue
        value = tuple(config[key]) if isinstance(default, tuple) else config[key]
        assert default is None or value is None or isinstance(value, type(default))


@pytest.mark.parametrize(("owner", "path"), FILES, ids=label)
def test_every_key_is_commented(owner: str, path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("# ") for line in lines[:2]), "a first line says what the file is for"
    block = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            continue  # inside a block of text
        block = None
        key = re.match(r"\s*(?:- )?([\w/ ]+):(?:\s|$)(.*)", line)
        if not key or line.lstrip().startswith("#"):
            continue
        if key[2].startswith("|"):
            block = indent
        elif key[2].strip() and not key[1].startswith(("override", "footer")) and "format:" not in line:
            assert "  # " in line or " # " in line, f"{path.name}: {key[1]} has no comment"


@pytest.mark.parametrize(("owner", "group", "option"), list(components()))
def test_component_files_equal_their_constructors(owner: str, group: str, option: str) -> None:
    config = _option(owner, group, option)
    check_component(GROUP_KINDS[group], config, None if owner == CORE else owner)


@pytest.mark.parametrize("option", sorted(p.stem for p in (conf_folder() / "sampler").glob("*.yaml")))
def test_samplers_equal_their_constructors(option: str) -> None:
    config = _option(CORE, "sampler", option)
    check_component("solver", config, None)


@pytest.mark.parametrize(("owner", "path"), [each for each in FILES if each[1].parent.name == "session"], ids=label)
def test_settings_of_a_session_equal_its_constructor(owner: str, path: Path) -> None:
    assert path.stem == owner
    factory = Registry().find("session", owner, plugin=owner)
    parameters = dict(list(inspect.signature(factory).parameters.items())[1:])
    known = {name: each.default for name, each in parameters.items() if name not in ("decoder", "data")}
    shipped = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in shipped.items()} == known
    assert not set(shipped) & {field.name for field in dataclasses.fields(COMMANDS["sample"])}


FOLDERS = {part: conf_folder() / "sampler" / part for part in ("categorical", "grid")}
PARTS = [(part, p.stem) for part, folder in FOLDERS.items() for p in sorted(folder.glob("*.yaml"))]


@pytest.mark.parametrize(("part", "option"), PARTS)
def test_parts_of_samplers_equal_their_constructors(part: str, option: str) -> None:
    config = _option(CORE, f"sampler/{part}", option)
    check_component(part, config, None)
    needed = ["sampler.grid.times=[1,0.5]"] if option == "explicit" else []
    assert compose("modality=image", f"sampler/{part}={option}", *needed)["sampler"][part]["name"] == option


@pytest.mark.parametrize("option", sorted(p.stem for p in (conf_folder() / "process").glob("*.yaml")))
def test_processes_equal_their_constructors(option: str) -> None:
    config = _option(CORE, "process", option)
    for kind in ("schedule", "weighting", "clock"):
        check_component(kind, config[kind], None)
        Registry().build(kind, config[kind])


def _option(owner: str, group: str, option: str) -> dict[str, Any]:
    if owner == CORE:
        loaded = OmegaConf.to_container(OmegaConf.load(ROOTS[CORE] / group / f"{option}.yaml"))
        assert isinstance(loaded, dict)
        return {str(k): v for k, v in loaded.items() if k != "defaults"}
    missing = [f"{group}.{key}=x" for key in _missing(ROOTS[owner] / group / f"{option}.yaml")]
    config: dict[str, Any] = compose(f"modality={owner}", f"{group}={option}", *missing)[group]
    return config


def _missing(path: Path) -> list[str]:
    return [key for key, value in (yaml.safe_load(path.read_text()) or {}).items() if value == "???"]


@pytest.mark.parametrize("group", ["process", "sampler", "callbacks", "guidance", "trainer"])
def test_every_option_of_the_core_composes(group: str) -> None:
    for file in sorted((conf_folder() / group).glob("*.yaml")):
        config = compose("modality=image", f"{group}={file.stem}")
        json.dumps(config, allow_nan=False)  # as checkpoints keep it
        own = yaml.safe_load(file.read_text())
        pulled = {part for each in own.pop("defaults", []) if isinstance(each, dict) for part in each}
        assert set(config[group]) == set(own) | pulled


def test_settings_and_yaml_say_the_same() -> None:
    config = compose("modality=image")
    core = yaml.safe_load((conf_folder() / "trainer" / "default.yaml").read_text(encoding="utf-8"))
    assert TrainerSettings.read({**core, "lr": float(core["lr"])}) == TrainerSettings()
    for command in ("sample", "evaluate", "report"):
        composed = compose("run=somewhere", command=command)
        assert composed == dataclasses.asdict(COMMANDS[command].read({"run": "somewhere"}))
    assert set(config) == {field.name for field in dataclasses.fields(COMMANDS["train"])}


def test_short_names_and_python_agree_with_the_command_line() -> None:
    config = compose("modality=image", "data=folder", "data.path=/pictures/a=b, c", "trainer.steps=1e4")
    assert config["data"]["name"] == "folder"
    assert config["data"]["path"] == "/pictures/a=b, c"
    assert config["trainer"]["steps"] == 10_000
    assert type(config["trainer"]["steps"]) is int


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("trainer.stps=3", ["trainer.stps", "'steps'"]),
        ("trianer.steps=3", ["trianer.steps", "'trainer'"]),
        ("+trainer.stps=3", ["trainer.stps", "'steps'"]),
        ("+nonsense=3", ["nonsense", "not a setting"]),
        ("trainer.steps=abc", ["trainer.steps=abc", "whole number"]),
        ("trainer.steps=null", ["trainer.steps=null", "whole number"]),
        ("trainer.lr=nan", ["trainer.lr=nan"]),
        ("sampler=heum", ["sampler=heum", "did you mean 'heun'"]),
        ("data=foldr", ["data=foldr", "did you mean 'folder'", "hub"]),
        ("data=folder", ["data.path"]),
        ("seed=1,2", ["seed=1,2", "--multirun"]),
    ],
)
def test_a_wrong_key_or_type_is_one_line(typed: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("modality=image", typed)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return compose("modality=image")


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("trainer.steps", 0, ["trainer.steps=0", "at least 1"]),
        ("trainer.steps", -5, ["trainer.steps=-5", "at least 1"]),
        ("trainer.steps", 1.5, ["trainer.steps=1.5", "whole number"]),
        ("trainer.steps", 1e30, ["trainer.steps", "at most"]),
        ("trainer.steps", True, ["trainer.steps=true", "whole number"]),
        ("trainer.betas", [0.9, 1], ["trainer.betas[1]", "below 1"]),
        ("trainer.accumulate", 3, ["trainer.accumulate=3", "128"]),
        ("trainer.decay", "cosin", ["trainer.decay=cosin", "did you mean 'cosine'"]),
        ("trainer.compile", "maybe", ["trainer.compile=maybe", "true or false"]),
        ("sampler.steps", 0, ["sampler.steps=0"]),
        ("sampler.steps", 1_000_000_000, ["sampler.steps=1000000000", "at most"]),
        ("process.parameterization", "w", ["process.parameterization=w", "velocity"]),
        ("guidance.scale", -1, ["guidance.scale=-1"]),
        ("seed", -1, ["seed=-1"]),
    ],
)
def test_a_value_out_of_bounds_is_named(sound: dict[str, Any], key: str, value: Any, parts: list[str]) -> None:
    section, _, name = key.rpartition(".")
    wrong = {**sound, section: {**sound[section], name: value}} if section else {**sound, name: value}
    with pytest.raises(ConfigError) as caught:
        check("train", wrong)
    for part in parts:
        assert part in str(caught.value)


def test_a_modality_is_needed_and_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"modality=NAME is needed .*image"):
        compose()
    with pytest.raises(PluginError, match=r"imag.*installed: .*image"):
        compose("modality=imag")


def test_samplers_of_a_run_are_left_alone_unless_chosen() -> None:
    assert compose("run=x", command="sample")["sampler"] == {}
    assert compose("run=x", "sampler.steps=7", command="sample")["sampler"] == {"steps": 7}
    chosen = compose("run=x", "sampler=heun", "sampler.steps=7", command="sample")["sampler"]
    assert (chosen["name"], chosen["steps"]) == ("heun", 7)
    assert compose("run=x", "guidance.interval=null", command="sample")["guidance"] == {"interval": None}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"indices": [0, -1]}, "indices"),
        ({"task": "vary"}, "input=FILE"),
        ({"mask": "m.png"}, "task="),
        ({"strength": 0}, "strength=0"),
        ({"sampler": {"steps": "many"}}, "sampler.steps=many"),
        ({"nn": 3}, "nn is not a setting"),
    ],
)
def test_sample_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check("sample", {"run": "r", **settings})


@pytest.mark.parametrize(
    ("hint", "value", "fitted"),
    [
        (int, 3.0, 3),
        (float, 3, 3.0),
        (float | None, None, None),
        (str, 5, "5"),
        (str | Path, "a", "a"),
        (Path, "a", Path("a")),
        (tuple[int, ...], [1, 2.0], (1, 2)),
        (tuple[int, float], [1, 2], (1, 2.0)),
        (list[int] | None, [1], [1]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Literal[1, "a"], "a", "a"),
        (Annotated[float, Range(above=0, most=1)], 1, 1.0),
    ],
)
def test_values_that_fit(hint: Any, value: Any, fitted: Any) -> None:
    result = fit(hint, value, "key")
    assert result == fitted
    assert type(result) is type(fitted)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 3.5),
        (int, "3"),
        (int, True),
        (bool, 1),
        (float, "x"),
        (str, None),
        (str, True),
        (tuple[int, int], [1]),
        (tuple[int, ...], 3),
        (list[int], "12"),
        (Literal[1], True),
        (dict[str, int], {"a": "b"}),
        (Annotated[float, Range(least=0)], float("nan")),
        (int | None, "x"),
    ],
)
def test_values_that_do_not(hint: Any, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^key"):
        fit(hint, value, "key")
