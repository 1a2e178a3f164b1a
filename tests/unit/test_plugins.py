"""Plugins: found without being imported, loaded one by one, and none able to harm another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from suffuse.environment import list_plugins
from suffuse.errors import ConfigError, PluginError
from suffuse.plugins import KINDS, Registry
from suffuse.plugins.discovery import GROUP, duplicate_configs, missing_requirements, pip_line

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
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a package and its metadata, as pip would have left them, and returns its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, plugin: str, *, package: str = "", requires: tuple[str, ...] = (), **files: str) -> EntryPoint:
        package = package or f"made_{name}"
        folder = tmp_path / package
        folder.mkdir()
        sources = {"__init__": "", "plugin": plugin, **files}
        for stem, text in sources.items():
            (folder / f"{stem}.py").write_text(text.replace("PACKAGE", package))
        info = tmp_path / f"dist_{package}-1.2.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: dist-{package}", "Version: 1.2", *requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        entry = EntryPoint(name, f"{package}.plugin", GROUP)
        vars(entry)["dist"] = Distribution.at(info)  # as importlib.metadata attaches it
        return entry

    return write


def drop(*packages: str) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] in packages]:
        del sys.modules[name]


def test_installed_plugins_are_listed_without_importing_them() -> None:
    code = (
        "import sys; from suffuse.plugins import Registry; r = Registry();"
        "print(sorted(r.found), [str(f.conf) for f in r.found.values()] != [],"
        "[n for n in sys.modules if n.startswith('suffuse_') or n == 'torch'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'image'" in out
    assert out.rstrip().endswith("[]")


@pytest.mark.parametrize("entry", entry_points(group=GROUP), ids=lambda entry: entry.name)
def test_registration_modules_are_light(entry: EntryPoint) -> None:
    heavy = {"torch", "numpy", "PIL", "sklearn", "hydra", "omegaconf"}
    code = f"import sys, {entry.module}; print(*(set(sys.modules) & {heavy!r}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not out.split()


def test_every_registered_component_exists() -> None:
    registry = Registry()
    for owner in ("suffuse", *registry.found):
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


def test_a_plugin_without_configuration_is_said_to_have_none(make: Make) -> None:
    registry = Registry([make("crystal", GOOD, parts=PARTS)])
    assert registry["crystal"].conf is None
    assert "conf/modality/crystal.yaml" in list_plugins(registry)


def test_two_folders_with_one_file_are_seen(tmp_path: Path) -> None:
    for place in ("a/sampler/x.yaml", "b/sampler/x.yaml", "b/sampler/y.yaml"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}")
    assert duplicate_configs({"a": tmp_path / "a", "b": tmp_path / "b"}) == {"sampler/x.yaml": ["a", "b"]}
    folders = {name: found.conf for name, found in Registry().found.items() if found.conf}
    assert duplicate_configs({**folders, "core": Path(__file__).parents[2] / "conf"}) == {}


@pytest.fixture(autouse=True)
def _forget_made_packages() -> Any:
    yield
    drop(*{name.partition(".")[0] for name in sys.modules if name.startswith("made_")})
