"""One configuration out of the core's YAML, the plugins' YAML and what was typed, checked as a whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from suffuse.arguments import chosen_modalities, prepare
from suffuse.complaints import explain
from suffuse.errors import ConfigError, PluginError, SuffuseError
from suffuse.plugins import CORE, Found, Registry

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["add_search_path", "check_modalities", "compose", "conf_folder", "conf_folders", "plain", "version_base"]


def conf_folder() -> Path:
    """The core's configuration: inside the package in a wheel, at the top of the repository in a checkout."""
    packaged = Path(__file__).with_name("conf")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def conf_folders(registry: Registry) -> dict[str, Path]:
    """The configuration folders by owner: the core, and each installed plugin that has one.

    A folder with files that could stand in for those of others is left out, with a warning.
    """
    folders = {CORE: conf_folder()}
    for name in registry:
        found = registry[name]
        if found.strays:
            warnings.warn(f"{found.label} is left out: {_stray(found)}", stacklevel=2)
        elif found.conf:
            folders[name] = found.conf
    return folders


def _stray(found: Found) -> str:
    return f"its conf/{found.strays[0].as_posix()} is not in a folder {found.name}; tell its author"


def check_modalities(arguments: Iterable[str], registry: Registry) -> list[str]:
    """The modalities that arguments name. Says what is wrong with one before Hydra says less.

    Raises:
        PluginError: no plugin has it, two have, or its configuration is missing.
    """
    chosen = chosen_modalities(arguments)
    for name in chosen:
        try:
            found = registry[name]
        except PluginError as error:
            raise PluginError(f"modality={name}: {error}") from None
        if not found.modality:
            raise PluginError(f"{found.label} has no conf/modality/{name}.yaml; reinstall it or tell its author")
        if found.strays:
            raise PluginError(f"{found.label} cannot be used: {_stray(found)}")
    return chosen


def compose(*overrides: str, command: str = "train") -> dict[str, Any]:
    """The configuration that the command line would make of the same words, resolved and checked.

    ``compose("modality=image", "data=digits", "trainer.steps=500")``

    Raises:
        ConfigError: a key, a type or a value is wrong.
        PluginError: the modality's plugin is missing or in conflict.
    """
    import hydra

    registry = Registry()
    check_modalities(overrides, registry)
    folders = conf_folders(registry)
    arguments = prepare(command, overrides, folders)
    add_search_path(folders)
    try:
        with hydra.initialize_config_dir(str(conf_folder()), job_name=command, **version_base()):
            return plain(command, hydra.compose(command, [a for a in arguments if not a.startswith("hydra.")]))
    except SuffuseError:
        raise
    except Exception as error:
        line = explain(error, folders.values())
        if line is None:
            raise
        raise ConfigError(line) from error


def plain(command: str, config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain data.

    Raises:
        ConfigError: a value is missing, or a key, a type or a value is wrong.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from suffuse.settings import check

    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise ConfigError(f"{missing[0]} has no value yet; give {missing[0]}=VALUE")
        data = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:  # values that refer to each other in a circle
        raise ConfigError(str(explain(error))) from error
    assert isinstance(data, dict)
    return check(command, {str(key): value for key, value in data.items()})


def version_base() -> dict[str, str]:
    """The version of Hydra whose defaults are meant, for those releases that want to be told."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


def add_search_path(folders: Mapping[str, Path]) -> None:
    """Let Hydra find the configuration of plugins, in this process only. Imports none of them.

    Args:
        folders: from `conf_folders`.
    """
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class SuffusePlugins(SearchPathPlugin):
        folders: ClassVar[Mapping[str, Path]]

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for name, folder in self.folders.items():
                if name != CORE:
                    search_path.append(f"suffuse plugin {name}", f"file://{folder.as_posix()}")

    known = Plugins.instance()
    ours: dict[str, Any] = {kind.__name__: kind for kind in known.discover(SearchPathPlugin)}
    if SuffusePlugins.__name__ not in ours:
        known.register(SuffusePlugins)
    ours.get(SuffusePlugins.__name__, SuffusePlugins).folders = folders
