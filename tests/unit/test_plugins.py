"""Plugins: found without being imported, loaded one by one, and none able to harm another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest
from tests.made import forget, write

from suffuse.errors import ConfigError, PluginError
from suffuse.plugins import KINDS, Registry, Trial, hookspecs
from suffuse.plugins.discovery import OFF, Found, missing_requirements, origin, pip_line
from suffuse.plugins.listing import list_plugins

Make = Callable[..., EntryPoint]

GOOD = """
from suffuse import hookimpl

@hookimpl
def suffuse_components():
    return {"backbone": {"net": "PACKAGE.parts:Net", "needy": "PACKAGE.needy:Net", "gone": "PACKAGE.parts:Gone"}}
"""
PARTS = """
from __future__ import annotations

class Net:
    def __init__(self, fields, *, width: int, depth: int = 2, act: str | None = None):
        self.args = (fields, width, depth, act)
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Writes a plugin and returns its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield partial(write, tmp_path)
    forget("made_")


def test_installed_plugins_are_listed_without_importing_them() -> None:
    code = (
        "import sys; from suffuse.plugins import Registry; r = Registry();"
        "print(sorted(r.found), [str(f.conf) for f in r.found.values()] != [],"
        "[n for n in sys.modules if n.startswith('suffuse_') or n == 'torch'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'image'" in out
    assert out.rstrip().endswith("[]")


def test_every_registered_component_exists() -> None:
    registry = Registry()
    own = [name for name, found in registry.found.items() if found.entry.dist and found.entry.dist.name == "suffuse"]
    assert len(own) >= 3
    for owner in ("suffuse", *own):
        for kind, names in registry.load(owner).items():
            assert kind in KINDS
            for name in names:
                assert callable(registry.find(kind, f"{owner}/{name}"))


def test_build_fits_and_calls(make: Make) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    net = registry.build("backbone", {"name": "net", "width": 4.0}, "fields", plugin="crystal")
    assert net.args == ("fields", 4, 2, None)
    assert type(net.args[1]) is int
    other = registry.build("backbone", {"name": "crystal/net", "width": 8, "act": "silu"}, "fields")
    assert other.args == ("fields", 8, 2, "silu")
    assert registry.used() == {"crystal": "dist-made_crystal 1.2"}


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"name": "net", "widht": 3}, ["backbone.widht", "'width'"]),
        ({"name": "net"}, ["backbone.width", "no value"]),
        ({"name": "net", "width": "abc"}, ["backbone.width=abc", "whole number"]),
        ({"name": "net", "width": True}, ["backbone.width=true", "whole number"]),
        ({"name": "net", "width": 3, "fields": 1}, ["backbone.fields", "set by the program"]),
        ({"name": "nett"}, ["backbone.name=nett", "did you mean 'net'", "needy"]),
        ({"width": 3}, ["backbone.name", "net, needy"]),
    ],
)
def test_wrong_configuration_is_one_line(make: Make, config: dict[str, Any], parts: list[str]) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    with pytest.raises(ConfigError) as caught:
        registry.build("backbone", config, "fields", plugin="crystal")
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_core_component_names_its_place_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"^process\.schedule\.sigma_mx .*'sigma_max'"):
        Registry().build("schedule", {"name": "edm", "sigma_mx": 1})


BROKEN = {
    "import error": (
        "import nonsense_that_is_not_there",
        ["does not import", "nonsense_that_is_not_there", "pip install"],
    ),
    "raises": ("raise RuntimeError('boom')", ["does not import", "RuntimeError: boom"]),
    "misspelt hook": (GOOD.replace("suffuse_components", "suffuse_component"), ["suffuse_component"]),
    "unmarked hook": ("def suffuse_components():\n    return {}", ["not marked with @hookimpl"]),
    "wrong signature": (GOOD.replace("components()", "components(colour)"), ["does not fit the hooks", "colour"]),
    "hook fails": (GOOD.replace("return", "return 1 / 0, "), ["suffuse_components", "ZeroDivisionError"]),
    "unknown kind": (GOOD.replace('"backbone"', '"backbones"'), ["backbones", "'backbone'"]),
    "no path": (GOOD.replace("PACKAGE.parts:Net", "just words"), ["module:attribute", "just words"]),
    "newer core": (GOOD + "SUFFUSE_API = 99", ["API 99"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_harms_nobody(make: Make, case: str) -> None:
    source, parts = BROKEN[case]
    registry = Registry([make("bad", source), make("crystal", GOOD, parts=PARTS)])
    with pytest.raises(PluginError) as caught:
        registry.load("bad")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("'bad'", "dist-made_bad 1.2", *parts):
        assert part in message
    assert registry.build("backbone", {"name": "net", "width": 1}, 0, plugin="crystal").args[1] == 1
    listing = list_plugins(registry).splitlines()
    assert len(listing) == 2
    assert any("made_bad" in line and "ok" not in line.split() for line in listing)


def test_a_component_that_lacks_a_package_gives_the_pip_line(make: Make) -> None:
    entry = make(
        "crystal",
        GOOD,
        parts=PARTS,
        needy="import phantom_lattice",
        requires=("Provides-Extra: lattice", "Requires-Dist: phantom-lattice>=1; extra == 'lattice'"),
    )
    registry = Registry([entry])
    with pytest.raises(PluginError, match=r'phantom_lattice.*pip install "dist-made_crystal\[lattice\]"'):
        registry.build("backbone", {"name": "needy"}, plugin="crystal")
    with pytest.raises(PluginError, match="has no 'Gone'"):
        registry.build("backbone", {"name": "gone"}, plugin="crystal")
    assert entry.dist is not None
    assert missing_requirements(entry.dist, "lattice") == ["phantom-lattice"]
    assert pip_line(entry.dist, "unheard_of", "crystal") == "pip install unheard_of"


def test_two_distributions_with_one_name(make: Make) -> None:
    first, second = make("twin", GOOD, package="made_one"), make("twin", GOOD, package="made_two")
    fine = make("crystal", GOOD, parts=PARTS)
    registry = Registry([first, second, fine])
    with pytest.raises(PluginError, match=r"dist-made_one 1\.2 and dist-made_two 1\.2 both provide .*'twin'"):
        registry.load("twin")
    assert registry.load("crystal")
    assert Registry([fine, fine]).doubles == {}


def test_a_missing_plugin_names_the_installed_ones(make: Make) -> None:
    with pytest.raises(PluginError, match=r"'cristal'.*installed: crystal.*did you mean 'crystal'"):
        Registry([make("crystal", GOOD)])["cristal"]


def test_a_plugin_without_a_modality_is_said_to_have_none(make: Make) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    assert registry["crystal"].conf is None
    assert "ok, components only" in list_plugins(registry)


def test_configuration_outside_its_own_folder_is_seen(make: Make) -> None:
    files = ("modality/crystal.yaml", "modality/image.yaml", "sampler/grid/crystal/x.yaml", "sampler/x.yaml")
    found = Found(make("crystal", GOOD, conf=dict.fromkeys(files, "{}")))
    assert [path.as_posix() for path in found.strays] == ["modality/image.yaml", "sampler/x.yaml"]
    assert not any(Registry()[name].strays for name in ("image", "audio", "molecule"))


def test_a_plugin_can_be_switched_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [make("crystal", GOOD, parts=PARTS), make("glass", GOOD, parts=PARTS)]
    monkeypatch.setenv(OFF, "glass, unheard")
    registry = Registry(entries)
    assert list(registry) == ["crystal"]
    with pytest.raises(PluginError, match=rf"'glass' \(from dist-made_glass 1\.2\) is switched off by {OFF}"):
        registry.load("glass")
    assert f"off, by {OFF}" in list_plugins(registry).splitlines()[1]


NEWER = f"Requires-Dist: suffuse>{version('suffuse')}"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("Requires-Dist: suffuse<0.0.1", "pip install -U dist-made_crystal"),
        (NEWER, f'pip install -U "suffuse>{version("suffuse")}"'),
        ("Requires-Dist: suffuse>=99,<100", 'pip install -U "suffuse<100,>=99"'),
    ],
)
def test_a_dependency_on_another_core_is_refused(make: Make, line: str, command: str) -> None:
    registry = Registry([make("crystal", GOOD, requires=(line,), parts=PARTS)])
    with pytest.raises(PluginError) as caught:
        registry.load("crystal")
    message = str(caught.value)
    assert all(part in message for part in ("'crystal'", "dist-made_crystal 1.2", version("suffuse")))
    assert message.endswith(command)


@pytest.mark.parametrize(
    "line", [f"Requires-Dist: suffuse=={version('suffuse')}", "Requires-Dist: suffuse<9; extra == 'x'"]
)
def test_a_dependency_on_this_core_is_not(make: Make, line: str) -> None:
    assert Registry([make("crystal", GOOD, requires=(line,), parts=PARTS)]).load("crystal")


def test_a_name_that_the_core_has_too_is_asked_about(make: Make) -> None:
    source = GOOD.replace('{"backbone"', '{"solver": {"ddim": "PACKAGE.parts:Net"}, "backbone"')
    registry = Registry([make("crystal", source, parts=PARTS)])
    with pytest.raises(
        ConfigError, match=r"sampler\.name=ddim: .*'crystal' \(from .*write crystal/ddim or suffuse/ddim"
    ):
        registry.build("solver", {"name": "ddim"}, plugin="crystal")
    assert registry.build("solver", {"name": "suffuse/ddim"}, plugin="crystal").eta == 0
    assert registry.build("solver", {"name": "crystal/ddim", "fields": 1, "width": 2}).args[1] == 2
    assert registry.build("solver", {"name": "ddim"}).eta == 0


def test_objects_say_whose_they_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    net = registry.build("backbone", {"name": "crystal/net", "width": 8}, "fields")
    assert origin(net) == "plugin 'crystal' (from dist-made_crystal 1.2)"
    assert origin(registry) == "the core"
    assert origin(Path()) == "the package pathlib"


def test_verbose_lists_what_components_are_and_take(make: Make) -> None:
    parts = PARTS.replace("class Net:", 'class Net:\n    """A network.\n\n    At length.\n    """')
    entry = make("crystal", GOOD, parts=parts, conf={"modality/crystal.yaml": "{}"})
    text = list_plugins(Registry([entry]), verbose=True)
    assert str(Path(entry.dist.locate_file("made_crystal"))) in text  # type: ignore[union-attr]
    lines = [line.split() for line in text.splitlines()]
    assert ["net", "A", "network."] in lines
    assert ["width,", "depth=2,", "act=None"] in lines
    assert "made_crystal.parts has no 'Gone'" in text
    assert ["solver"] in lines
    assert "steps" not in text.partition("grid\n")[2].split("solver")[0]  # the program gives it


# Hooks -------------------------------------------------------------------------------------------------------------


def test_hook_suffuse_components(make: Make) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    assert registry.load("crystal")["backbone"]["net"] == "made_crystal.parts:Net"


TRIALS = """
from suffuse.plugins import Trial

@hookimpl
def suffuse_trials():
    return ANSWER
"""


def test_hook_suffuse_trials(make: Make) -> None:
    answer = TRIALS.replace("ANSWER", "[Trial(words=['modality=image', 'backbone=crystal/net'])]")
    registry = Registry([make("crystal", GOOD + answer), make("glass", GOOD, conf={"modality/glass.yaml": "{}"})])
    assert registry.trials("crystal") == [Trial(words=["modality=image", "backbone=crystal/net"])]
    assert registry.trials("glass") == [Trial(words=("modality=glass",))]


@pytest.mark.parametrize(
    ("hook", "parts"),
    [
        ("", ["names no trial", "suffuse_trials"]),
        (TRIALS.replace("ANSWER", "['modality=image']"), ["list of suffuse.plugins.Trial"]),
        (TRIALS.replace("ANSWER", "1 / 0"), ["failed in suffuse_trials", "ZeroDivisionError"]),
    ],
)
def test_trials_that_are_none_are_refused(make: Make, hook: str, parts: list[str]) -> None:
    registry = Registry([make("crystal", GOOD + hook, parts=PARTS)])
    with pytest.raises(PluginError) as caught:
        registry.trials("crystal")
    assert all(part in str(caught.value) for part in ("'crystal'", "dist-made_crystal 1.2", *parts))
    assert registry.load("crystal")


def test_a_hook_of_a_newer_core_may_be_optional(make: Make) -> None:
    later = "\n@hookimpl(optionalhook=True)\ndef suffuse_weather():\n    return 1\n"
    assert Registry([make("crystal", GOOD + later)]).load("crystal")
    with pytest.raises(PluginError, match="there is no hook suffuse_weather"):
        Registry([make("glass", GOOD + later.replace("(optionalhook=True)", ""))]).load("glass")


def test_every_hook_has_a_test() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("suffuse_")}
    assert hooks == {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")}
