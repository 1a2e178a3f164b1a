"""No module of ours makes code of data: a static check of every one of them."""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import pytest

import suffuse

ROOT = Path(__file__).parents[2]

ALLOWED_IN = {
    "pickle": "molecule/suffuse_molecule/workers.py",  # to its own children, through pipes that nobody else has
    "importlib.import_module": "suffuse/__init__.py suffuse/launch.py suffuse/plugins/registry.py "
    "suffuse/testing/reference.py audio/suffuse_audio/pair.py molecule/suffuse_molecule/workers.py",
}
"""What some of our modules may do all the same: those that name the code themselves."""

Names = Mapping[str, set[str]]
"""The dotted names that each name of a module may stand for."""


def _safe_loader(call: ast.Call, names: Names) -> bool:
    """``Loader=`` is one that makes plain data, or a class that is derived from such a one."""
    loaders = [word.value for word in call.keywords if word.arg == "Loader"] or call.args[1:2]
    return any(dotted(loader, names) & _SAFE for loader in loaders)


def _numbers_alone(most: int) -> Callable[[ast.Call, Names], bool]:
    """At ``most`` the arguments before `allow_pickle`, and none unpacked; for the word itself see `_SWITCHES`."""

    def allowed(call: ast.Call, names: Names) -> bool:
        unpacked = any(isinstance(each, ast.Starred) for each in call.args) or None in {w.arg for w in call.keywords}
        return len(call.args) <= most and not unpacked

    return allowed


FORBIDDEN: Mapping[str, Callable[[ast.Call, Names], bool] | None] = {
    **dict.fromkeys(
        [
            # modules, and all that is in them
            "pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle",
            "monty", "runpy", "code", "codeop", "imp", "torch.distributed.checkpoint", "torch.hub", "torch.package",
            "torch.serialization", "torch.storage", "hydra.utils", "hydra._internal", "joblib.numpy_pickle",
            "importlib.machinery",
            # functions and classes
            "torch.load", "torch.jit.load", "torch.export.load", "joblib.load", "pandas.read_pickle", "pandas.read_hdf",
            "pandas.eval", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all",
            "yaml.Loader", "yaml.CLoader", "yaml.UnsafeLoader", "yaml.CUnsafeLoader", "yaml.FullLoader",
            "yaml.CFullLoader", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__",
            "importlib.import_module", "importlib.__import__", "importlib.util.module_from_spec",
            "pkgutil.resolve_name", "pydoc.locate",
        ]
    ),
    **dict.fromkeys(["yaml.load", "yaml.load_all"], _safe_loader),
    "numpy.load": _numbers_alone(2),
    "numpy.lib.format.read_array": _numbers_alone(1),
}  # fmt: skip
"""What turns data or names into code, by dotted name, each with the form of a call that does not."""

_SAFE = {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.BaseLoader"}
"""Loaders of plain data."""

_SWITCHES = {"allow_pickle", "trust_remote_code"}
"""Words that no function may be given but as False."""


def unsafe(source: str) -> set[str]:
    """What in a module could make code of data: names of `FORBIDDEN`, wherever they stand, and `_SWITCHES`."""
    tree = ast.parse(source)
    names = _names(tree)
    found, vetted = set(), set()
    for node in ast.walk(tree):  # a call before what it calls
        if isinstance(node, ast.Call):
            known = [FORBIDDEN.get(name) for name in dotted(node.func, names)]
            if known and all(allowed is not None and allowed(node, names) for allowed in known):
                vetted.add(node.func)
            switches = [word for word in node.keywords if word.arg in _SWITCHES]
            found |= {str(word.arg) for word in switches if ast.unparse(word.value) != "False"}
        if node not in vetted:
            found |= {part for name in _mentioned(node, names) for part in _steps(name)} & FORBIDDEN.keys()
    return found


def dotted(node: ast.AST, names: Names) -> set[str]:
    """The full names that an expression may stand for; none where it is neither imported nor built in."""
    if isinstance(node, ast.Attribute):
        return {f"{owner}.{node.attr}" for owner in dotted(node.value, names)}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return names.get(node.id, {f"builtins.{node.id}"} if hasattr(builtins, node.id) else set())
    return set()


def _names(tree: ast.AST) -> Names:
    """What imports, assignments and base classes make the names of a module stand for."""
    names: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                name = each.name if each.asname else each.name.partition(".")[0]
                names[each.asname or name].add(name)
        elif isinstance(node, ast.ImportFrom):
            for each, name in zip(node.names, _imported(node), strict=True):
                names[each.asname or each.name].add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    names[target.id] |= _on_the_way(dotted(node.value, names))
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                names[node.name] |= _on_the_way(dotted(base, names))
    return {name: known for name, known in names.items() if known}


def _on_the_way(names: set[str]) -> set[str]:
    """Those that lead to what is looked for: all others would multiply with every ``x = x.y``."""
    return names & _WAYS


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    start = f"{'.' * node.level}{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
    return (start + each.name for each in node.names)


def _mentioned(node: ast.AST, names: Names) -> set[str]:
    """The full names of an import or of an expression; of ``from module import *`` all that is forbidden in it."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return dotted(node, names)
    found = set(_imported(node))
    stars = {name.removesuffix("*") for name in found if name.endswith(".*")}
    return found | {entry for entry in FORBIDDEN for star in stars if entry.startswith(star)}


def _steps(name: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``."""
    return list(accumulate(name.split("."), "{}.{}".format))


_WAYS = {step for name in (*FORBIDDEN, *_SAFE) for step in _steps(name)}


def test_nothing_in_the_packages_unpickles_or_evaluates() -> None:
    """A static check of every module that is installed."""
    files = [Path(suffuse.__file__).parent, *(ROOT / "plugins").glob("*/suffuse_*")]
    checked = 0
    for file in (module for folder in files for module in folder.rglob("*.py")):
        allowed = {name for name, places in ALLOWED_IN.items() if any(str(file).endswith(p) for p in places.split())}
        assert unsafe(file.read_text(encoding="utf-8")) <= allowed, file
        checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    "source",
    [
        # as they are
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import dill, json",
        "import joblib; joblib.load(path)",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=True)",
        "eval(text)",
        "import hydra; hydra.utils.instantiate(config)",
        "import importlib; importlib.import_module(name)",
        "import runpy; runpy.run_path(path)",
        "import torch; torch.serialization.load(path)",
        "import torch; torch.jit.load(path)",
        "import torch; torch.hub.load(repository, name)",
        "import pandas; pandas.read_pickle(path)",
        # under other names
        "import torch.distributed.checkpoint as dcp; dcp.load(state)",
        "import torch.distributed; torch.distributed.checkpoint.load(state)",
        "import torch.distributed as dist; dist.checkpoint.load(state)",
        "from torch.distributed import checkpoint",
        "from torch import load",
        "from torch import *",
        "import torch as th; th.load(path)",
        "def f(path):\n    import torch as th\n    return th.load(path)",
        "import torch; read = torch.load",
        "import torch; t = torch; t.load(path)",
        "import torch; map(torch.load, paths)",
        "import pandas as pd; pd.read_pickle(path)",
        "from runpy import run_path as go",
        "from hydra.utils import instantiate",
        "from importlib import import_module",
        "import builtins as b; b.exec(text)",
        # with arguments that make them so
        "import yaml; yaml.load(text)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
        "import yaml; yaml.load(text, yaml.UnsafeLoader)",
        "import yaml; yaml.load(text, Loader=chosen)",
        "import yaml\nclass Mine(yaml.FullLoader): pass\nyaml.load(text, Loader=Mine)",
        "from yaml import load, SafeLoader as L, Loader as M; load(text, Loader=M)",
        "import yaml; yaml.unsafe_load(text)",
        "import yaml as y; y.full_load(text)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import numpy as np; np.load(path, allow_pickle=wanted)",
        "import numpy as np; np.load(path, None, True)",
        "import numpy as np; np.load(path, **settings)",
        "import numpy as np; np.load(*settings)",
        "from numpy import load as read; read(path, None, True)",
        "from functools import partial; partial(read, allow_pickle=True)",
        "from datasets import load_dataset; load_dataset(name, trust_remote_code=True)",
    ],
)
def test_code_out_of_data_is_noticed(source: str) -> None:
    assert unsafe(source)


@pytest.mark.parametrize(
    "source",
    [
        "from importlib.metadata import version",
        "import importlib.util; importlib.util.find_spec(name)",
        "model.eval()",  # a network's mode
        "import json; json.load(file)",
        "import re; re.compile(pattern)",
        "import torch; torch.compile(network)",
        "checkpoints.load(step)",
        "from safetensors.torch import load_file as load; load(path)",
        "import torch.distributed as dist; from torch.distributed.tensor import DTensor",
        "import numpy as np; np.load(path)",
        "import numpy as np; np.load(path, 'r', allow_pickle=False)",
        "import yaml; yaml.safe_load(text)",
        "import yaml; yaml.load(text, Loader=yaml.SafeLoader)",
        "import yaml; yaml.load(text, yaml.CSafeLoader)",
        "import yaml\nclass Mine(yaml.SafeLoader): pass\nyaml.load(text, Loader=Mine)",
        "from .pickle import own",
        "from pickled import loads",
    ],
)
def test_plain_data_is_no_code(source: str) -> None:
    assert not unsafe(source)
