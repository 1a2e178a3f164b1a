"""No module of ours makes code of data: a static check of every one of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import suffuse

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "pickle": "molecule/suffuse_molecule/workers.py",  # to its own children, through pipes that nobody else has
    "import_module": "suffuse/__init__.py suffuse/launch.py suffuse/plugins/registry.py suffuse/testing/reference.py "
    "audio/suffuse_audio/pair.py "
    "molecule/suffuse_molecule/workers.py",
}
"""Modules that turn data or names into code, and the files that may import them."""

_UNSAFE = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
_CALLS = {"import_module", "__import__", "eval", "exec", "instantiate", "unsafe_load", "full_load", "load_module"}


def unsafe(source: str) -> set[str]:
    """What in a module could make code of data: imports, calls, and torch's and numpy's loaders of pickles."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names} & _UNSAFE
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & _UNSAFE
        elif isinstance(node, ast.Call):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            if name in _CALLS and not (owner and name == "eval"):  # a network's own eval() is a mode
                found.add(name)
            if name == "load" and owner in ("torch", "joblib"):
                found.add(f"{owner}.load")
            if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
                found.add("allow_pickle")
    return found


def test_nothing_in_the_packages_unpickles_or_evaluates() -> None:
    """A static check of every module that is installed."""
    files = [Path(suffuse.__file__).parent, *(ROOT / "plugins").glob("*/suffuse_*")]
    checked = 0
    for file in (module for folder in files for module in folder.rglob("*.py")):
        allowed = {name for name, places in FORBIDDEN.items() if any(str(file).endswith(p) for p in places.split())}
        assert unsafe(file.read_text(encoding="utf-8")) <= allowed, file
        checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    "line",
    ["import pickle", "joblib.load(path)", "torch.load(path)", "eval(text)", "hydra.utils.instantiate(config)",
     "np.load(path, allow_pickle=True)", "importlib.import_module(name)"],
)  # fmt: skip
def test_code_out_of_data_is_noticed(line: str) -> None:
    assert unsafe(line)
    assert not unsafe(
        "from importlib.metadata import version\nmodel.eval()\njson.load(file)\nnp.load(path, allow_pickle=False)"
    )
