"""Configuration: what is shipped composes, is commented, and says the same as the code that it configures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

from suffuse.composition import compose, conf_folder
from suffuse.errors import ConfigError, PluginError
from suffuse.fitting import Range, fit
from suffuse.plugins import Registry
from suffuse.settings import COMMANDS, TrainerSettings, check
from suffuse.testing.configuration import misfits, uncommented

FILES = sorted(conf_folder().rglob("*.yaml"))


def check_component(kind: str, config: Mapping[str, Any]) -> None:
    """The keys are the constructor's, and all of them."""
    assert not misfits(kind, config, Registry(), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_key_is_commented(path: Path) -> None:
    assert list(uncommented(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# What it is for.\nname: net  # the component\n", []),
        ("name: net  # the component\n", ["no first line says what the file is for"]),
        ("# What.\nwidth: 3\n", ["width has no comment"]),
        ("# What.\nnet:\n  width: 3\n", ["width has no comment"]),
        ("# What.\ndefaults:\n  - /data: image/digits\n", ["/data has no comment"]),
    ],
)
def test_a_key_without_a_comment_is_noticed(text: str, found: list[str]) -> None:
    assert list(uncommented(text)) == found


GROUPS = [(group, p.stem) for group in ("backbone", "guidance") for p in sorted((conf_folder() / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_component_files_equal_their_constructors(group: str, option: str) -> None:
    check_component(group, compose("modality=image", f"{group}={option}")[group])


@pytest.mark.parametrize("option", sorted(p.stem for p in (conf_folder() / "sampler").glob("*.yaml")))
def test_samplers_equal_their_constructors(option: str) -> None:
    config = _option("sampler", option)
    check_component("solver", config)


FOLDERS = {part: conf_folder() / "sampler" / part for part in ("categorical", "grid")}
PARTS = [(part, p.stem) for part, folder in FOLDERS.items() for p in sorted(folder.glob("*.yaml"))]


@pytest.mark.parametrize(("part", "option"), PARTS)
def test_parts_of_samplers_equal_their_constructors(part: str, option: str) -> None:
    config = _option(f"sampler/{part}", option)
    check_component(part, config)
    needed = ["sampler.grid.times=[1,0.5]"] if option == "explicit" else []
    assert compose("modality=image", f"sampler/{part}={option}", *needed)["sampler"][part]["name"] == option


@pytest.mark.parametrize("option", sorted(p.stem for p in (conf_folder() / "process").glob("*.yaml")))
def test_processes_equal_their_constructors(option: str) -> None:
    config = _option("process", option)
    for kind in ("schedule", "weighting", "clock"):
        check_component(kind, config[kind])
        Registry().build(kind, config[kind])


def _option(group: str, option: str) -> dict[str, Any]:
    loaded = yaml.safe_load((conf_folder() / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in loaded.items() if key != "defaults"}


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


def test_a_group_can_be_left_out() -> None:
    assert compose("modality=image", "metric=null")["metric"] is None
    with pytest.raises(ConfigError, match="backbone"):
        compose("modality=image", "backbone=null")


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
        ("backbone=mine/net", ["backbone=mine/net: no such option", "known: set_transformer"]),
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


def test_what_the_file_of_a_modality_forgot_is_named() -> None:
    given = compose("modality=image")
    with pytest.raises(ConfigError, match=r"^decoder has no value; a default belongs in conf/modality/NAME\.yaml$"):
        check("train", {name: part for name, part in given.items() if name != "decoder"})


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


def test_settings_that_refer_to_each_other_in_a_circle() -> None:
    with pytest.raises(ConfigError) as error:
        compose("modality=image", "trainer.lr=${trainer.ema}", "trainer.ema=${trainer.lr}")
    assert "\n" not in str(error.value)
