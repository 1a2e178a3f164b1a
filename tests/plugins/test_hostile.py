"""Broken and hostile plugins: each is named with its distribution and its cause, and no other command suffers."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tests.made import TOY, forget, install, write

import suffuse
from suffuse.cli import main
from suffuse.errors import PluginError
from suffuse.plugins import Registry
from suffuse.plugins.watching import watched

GOOD = """
from suffuse import hookimpl

@hookimpl
def suffuse_components():
    return {"backbone": {"net": "PACKAGE.parts:Net"}}
"""
NET = '''
from torch import nn

class Net(nn.Module):
    """A network that says nothing."""

    condition_dim = 4

    def __init__(self, fields):
        super().__init__()
        self.scale = nn.Linear(1, 1)

    def forward(self, state, log_snr, condition):
        return {name: self.scale(value[..., None])[..., 0] for name, value in state.items()}
'''
MODALITY = """# @package _global_
# A modality that borrows everything but its network.
defaults:
  - /data: image/digits
  - /decoder: image/pixels
  - /metric: image/classifier
  - /backbone: bad/net
  - _self_
data:
  name: image/digits
decoder:
  name: image/pixels
metric:
  name: image/classifier
modality:
  name: bad
"""
CONF = {"modality/bad.yaml": MODALITY, "backbone/bad/net.yaml": "# A network.\nname: net\n"}
OTHERS = (["--help"], ["plugins"], ["plugins", "-v"], ["train", "--help"], ["train", "--cfg", "job", "modality=image"])
LOOK = ["train", "--cfg", "job", "modality=bad"]
RUN = [
    "train", "modality=bad", "trainer.steps=2", "trainer.batch_size=4", "trainer.preview_every=0", "callbacks=none",
    "trainer.log_every=1", "trainer.validate_every=0", "sampler.steps=2", "device=cpu",
]  # fmt: skip


class Case(NamedTuple):
    """A plugin that does wrong, the command that shows it, and what is said.

    Args:
        broken: whether it cannot be used at all, so that the list says so too.
    """

    plugin: str
    cause: str
    words: list[str] = RUN
    conf: Mapping[str, str] = CONF
    parts: str = NET
    requires: tuple[str, ...] = ()
    broken: bool = True


CASES = {
    "it does not import": Case("import phantom_lattice", "No module named 'phantom_lattice'; try: pip install"),
    "its import raises": Case("raise RuntimeError('boom')", "does not import: RuntimeError: boom"),
    "it leaves when it is imported": Case("raise SystemExit(3)", "does not import: SystemExit: 3"),
    "its hook raises": Case(GOOD.replace("return", "return 1 / 0,"), "failed in suffuse_components: ZeroDivisionError"),
    "its hook is misspelt": Case(GOOD.replace("suffuse_c", "suffuse_k"), "did you mean 'suffuse_components'?"),
    "its hook takes other arguments": Case(GOOD.replace("nents()", "nents(colour)"), "does not fit the hooks"),
    "its hook has no mark": Case(GOOD.replace("@hookimpl", ""), "is not marked with @hookimpl"),
    "its hook returns something else": Case(GOOD.replace("return", "return 3 #"), "must return a mapping"),
    "it was made for a newer core": Case(GOOD + "SUFFUSE_API = 99", "needs plugin API 99"),
    "it asks for another core": Case(GOOD, "pip install -U dist-made_bad", requires=("Requires-Dist: suffuse<0.0.1",)),
    "it has no configuration": Case(GOOD, "has no conf/modality/bad.yaml", LOOK, {}, broken=False),
    "its configuration shadows ours": Case(
        GOOD,
        "conf/sampler/ddim.yaml is not in a folder bad",
        LOOK,
        {**CONF, "sampler/ddim.yaml": "# Ours.\nsteps: 1\n"},
    ),
    "its configuration shadows another's": Case(
        GOOD, "conf/data/image/digits.yaml", LOOK, {**CONF, "data/image/digits.yaml": "# Its.\nname: bad/net\n"}
    ),
    "its configuration cannot be read": Case(
        GOOD, "backbone/bad/net", LOOK, {**CONF, "backbone/bad/net.yaml": "# A network.\nname: [net\n"}, broken=False
    ),
    "its component has a name of the core's": Case(
        GOOD.replace('{"backbone"', '{"solver": {"ddim": "PACKAGE.parts:Net"}, "backbone"'),
        "write bad/ddim or suffuse/ddim",
        [*RUN, "sampler=ddim"],
        broken=False,
    ),
    "its component does not import": Case(GOOD, "backbone 'net' of plugin 'bad'", parts="1 / 0", broken=False),
    "its component is not there": Case(GOOD, "made_bad.parts has no 'Net'", parts="", broken=False),
}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, on sys.path; Hydra's logging undone."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield
    logger.handlers[:], level = before
    logger.setLevel(level)
    forget("made_", TOY.name)


def make(tmp_path: Path, case: Case) -> EntryPoint:
    return write(tmp_path / "site", "bad", case.plugin, conf=case.conf, requires=case.requires, parts=case.parts)


def run(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


def said(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """What a command prints to standard output where it succeeds."""
    assert run(*words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("what", CASES)
def test_it_is_named_and_harms_nobody(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[what]
    before = [said(capsys, words) for words in OTHERS]
    make(tmp_path, case)
    after = [said(capsys, words) for words in OTHERS]
    for words, old, new in zip(OTHERS, before, after, strict=True):
        if words[0] == "plugins":
            strange = [line for line in new.splitlines() if line not in old.splitlines()]
            assert not [line for line in old.splitlines() if line not in new.splitlines()]
            assert strange[0].startswith("bad ")
            assert "dist-made_bad 1.2" in strange[0]
            assert not case.broken or case.cause in strange[0]
        elif "--help" not in words:  # which lists the options of all modalities
            assert new == old
    assert run(*case.words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("suffuse: ")
    assert case.cause in line
    if "backbone/bad" not in case.cause:
        assert "'bad' (from dist-made_bad 1.2)" in line


def test_two_distributions_with_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("made_one", "made_two"):
        write(tmp_path / "site", "bad", GOOD, package=package, conf=CONF, parts=NET)
    both = "dist-made_one 1.2 and dist-made_two 1.2 both provide the plugin 'bad'; uninstall one"
    assert both in said(capsys, ["plugins"])
    assert "digits" in said(capsys, OTHERS[-1])
    assert run(*LOOK) == 2
    assert both in capsys.readouterr().err


# Plugins that work, and do more than they should ---------------------------------------------------------------------

LOUD = "print('good day')\n" + GOOD
GREEDY = "import torch\n\ntorch.set_num_threads(3)\ntorch.set_default_dtype(torch.float64)\n" + NET
GREEDY_LATER = NET.replace(
    "        self.scale", "        import torch\n        torch.set_num_threads(3)\n        self.scale"
)
WHOSE = r"plugin 'bad' \(from dist-made_bad 1\.2\)"


def test_one_that_prints_is_kept_from_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, Case(LOUD, ""))
    with pytest.warns(UserWarning, match=f"{WHOSE} prints when it is loaded: 'good day'"):
        assert run("plugins") == 0
    assert "good day" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parts", "what"),
    [(GREEDY, "number of threads to 3, default dtype to torch.float64"), (GREEDY_LATER, "number of threads to 3")],
    ids=["when it is imported", "when it is made"],
)
def test_one_that_changes_torch_for_all_is_undone(tmp_path: Path, parts: str, what: str) -> None:
    make(tmp_path, Case(GOOD, "", parts=parts))
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with pytest.warns(UserWarning, match=f"{WHOSE} sets torch's {what}"):
        Registry().build("backbone", {"name": "bad/net"}, {})
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


def test_every_global_setting_is_watched() -> None:
    def spoil() -> None:
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        torch.set_default_device("meta")

    names = ("gradient mode", "deterministic mode", "matmul precision", "cudnn.benchmark", "default device")
    with pytest.warns(UserWarning, match="it sets torch's") as caught, watched("it"):
        spoil()
    assert all(name in str(caught[0].message) for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with watched("it"):
            pass
    assert torch.is_grad_enabled()
    assert torch.zeros(1).device.type == "cpu"


FAILING = {
    "raises": ("raise RuntimeError('out of ink')", 0, "set_aside"),
    "stops": ("raise __import__('suffuse').RunError('far enough')", 2, "far enough"),
    "leaves": ("raise SystemExit(5)", 5, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILING)
def test_a_callback_that_fails_in_training(how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the rule: the run goes on without it, unless it raises what is meant for people, or leaves."""
    act, code, word = FAILING[how]
    install(tmp_path / "site", TOY, "toy")
    parts = tmp_path / "site" / TOY.name / "parts.py"
    parts.write_text(parts.read_text().replace('self._write(f"logged {step}")', act))
    words = ["train", "modality=toy", "callbacks=diary", *RUN[2:-1], f"hydra.run.dir={tmp_path / 'run'}"]
    words = [word for word in words if word != "callbacks=none"]
    label = "callback Diary of plugin 'toy' (from dist-suffuse_toy 1.2)"
    if how == "raises":
        with pytest.warns(
            UserWarning, match=re.escape(f"{label} failed in logged: RuntimeError: out of ink; the run goes")
        ):
            assert run(*words) == code
    else:
        assert run(*words) == code
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert word in capsys.readouterr().err or word in facts
    if how == "raises":
        assert facts["set_aside"] == {label: "logged: RuntimeError: out of ink"}
        assert suffuse.load(tmp_path / "run").step == 2


def test_a_plugin_that_is_broken_later_is_named(tmp_path: Path) -> None:
    """A run asks for what it needs by name, and so it is said whose it was."""
    make(tmp_path, Case("import phantom_lattice", ""))
    with pytest.raises(PluginError, match=f"{WHOSE} does not import"):
        Registry().build("metric", {"name": "bad/net"})
