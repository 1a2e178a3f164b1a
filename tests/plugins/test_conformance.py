"""The conformance kit: a sound plugin passes all of it, and for each check there is a defect that it finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.made import TOY, forget, install, write

from suffuse.cli import main
from suffuse.errors import PluginError
from suffuse.plugins import Trial
from suffuse.testing import CHECKS, Failed, Task, parametrize_with_checks, tasks
from suffuse.testing.console import outcome

Make = Callable[..., dict[str, Task]]
Break = Callable[[Path], None]

SLOW = {"a_killed_run_goes_on", "components_leave_the_process_alone"}
"""They start a process of their own."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Installs the toy, after something was done to it, and returns its tasks by name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def made(*breaks: Break, trial: Trial | None = None) -> dict[str, Task]:
        install(tmp_path, TOY, "toy")
        for each in breaks:
            each(tmp_path / TOY.name)
        return {task.check.name: task for task in tasks("toy", *filter(None, [trial]))}

    yield made
    forget(TOY.name)


def change(file: str, old: str, new: str) -> Break:
    """Another text in one file of the toy."""

    def act(folder: Path) -> None:
        path = folder / file
        text = path.read_text()
        assert text.count(old) >= 1, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new))

    return act


def move(old: str, new: str) -> Break:
    """A file of the toy in another place."""

    def act(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / old, folder / new)

    return act


HIDDEN = "        hidden = self.kinds(state"
LEANING = change("network.py", "told[:, None]\n", 'told[:, None] + state["positions"][..., :1]\n')
PROCESS = 'rng = np.random.default_rng(self.rows[index] + (__import__("os").getpid() << 20))'
DEFECTS: dict[str, tuple[Break, str]] = {
    "registration_imports_nothing_heavy": (
        change("plugin.py", "from suffuse import hookimpl", "import numpy\n\nfrom suffuse import hookimpl"),
        "imports numpy",
    ),
    "hooks_fit": (change("plugin.py", '"solver": {"plain"', '"solver": {"ddim"'), "the core has a solver 'ddim' too"),
    "components_exist_and_are_explained": (
        change("parts.py", "self, *, most: int = 100", "self, *, most=100"),
        "metric 'spread': the setting most has no type",
    ),
    "configuration_lies_in_its_own_folders": (
        move("conf/sampler/toy/plain.yaml", "conf/sampler/ddim.yaml"),
        "conf/sampler/ddim.yaml",
    ),
    "configuration_is_commented": (
        change("conf/backbone/toy/pairs.yaml", "width: 24     # of a point", "width: 24"),
        "pairs.yaml: width has no comment",
    ),
    "configuration_fits_its_components": (
        change("conf/backbone/toy/pairs.yaml", "depth: 2 ", "layers: 2 "),
        "pairs has no setting layers",
    ),
    "trials_use_what_is_brought": (
        change("plugin.py", '"pairs": ', '"idle": "suffuse_toy.network:Pairs", "pairs": '),
        "no trial uses the backbone idle",
    ),
    "items_are_the_same_every_time": (
        change("data.py", "rng = np.random.default_rng(self.rows[index])", "rng = np.random.default_rng()"),
        "differs when it is read again",
    ),
    "workers_change_nothing": (
        change("data.py", "rng = np.random.default_rng(self.rows[index])", PROCESS),
        "depends on the process that it runs in",
    ),
    "splits_share_no_item": (
        change("data.py", "Part(range(count, count", "Part(range(count - 1, count"),
        "train[31] is heldout[0]",
    ),
    "conditions_are_those_declared": (
        change("data.py", '"size": count})', '"size": count, "colour": 3})'),
        "colour",
    ),
    "states_fit_their_fields": (
        change("data.py", "scale=float(spread)", "scale=10 * float(spread)"),
        "field positions: its scale is",
    ),
    "decoding_undoes_encoding": (
        change("data.py", '"points": state["positions"]', '"points": state["positions"] * 1.2'),
        "field positions: decoded and encoded again, it is off by",
    ),
    "decoding_takes_whatever_is_drawn": (
        change("data.py", "    found = []\n", '    found = [1 / int(state["positions"].isnan().any())][1:]\n'),
        "ZeroDivisionError",
    ),
    "files_can_be_read_back": (change("data.py", ', "record": dict(record)', ""), "does not write the record"),
    "pages_stand_alone": (
        change("data.py", 'f"<p>', "f\"<img src='https://example.org/a.png'><p>"),
        "https://example.org/a.png",
    ),
    "noise_keeps_to_the_layout": (
        change("parts.py", "field.tangent(noise, mask))", "noise)"),
        "positions has noisy padding",
    ),
    "beliefs_fit_their_fields": (
        change("network.py", '            "kinds": self.logits(hidden),\n', ""),
        "the network says nothing of kinds",
    ),
    "padding_changes_nothing": (
        change("network.py", "self.pull(messages) * pairs", "self.pull(messages) * hidden.shape[1]"),
        "padded further",
    ),
    "batch_mates_change_nothing": (
        change("network.py", HIDDEN, "        told = told - told.mean(0)\n" + HIDDEN),
        "computed alone",
    ),
    "level_and_conditions_are_heard": (
        change("network.py", "level, condition)", "0 * level, condition)"),
        "does not hear the noise level",
    ),
    "the_network_keeps_its_symmetries": (LEANING, "under a rotation, the belief is off"),
    "samples_keep_the_symmetries": (LEANING, "under a rotation samples of the field"),
    "every_parameter_gets_a_gradient": (
        change("network.py", "        self.pull =", "        self.idle = nn.Linear(2, 2)\n        self.pull ="),
        "backbone.idle.weight",
    ),
    "four_items_are_learnt_by_heart": (
        change("network.py", "        return {\n", "        hidden, pull = 0 * hidden, 0 * pull\n        return {\n"),
        "updates on four items the loss is",
    ),
    "bf16_agrees_with_float32": (
        change("network.py", "turns.cos()], -1))", "turns.cos()], -1) + 1e3) - 1e3 * self.near.weight.sum(1)"),
        "in bfloat16 the belief is off by",
    ),
    "a_seed_makes_one_sample": (
        change("network.py", HIDDEN, "        told = told + torch.randn(())\n" + HIDDEN),
        "the same seed makes different samples",
    ),
    "weights_come_back": (
        change("data.py", '        self.names = fields["kinds"].names\n', "        return\n"),
        "IndexError",
    ),
    "samplers_find_numbers": (
        change("parts.py", "    eta: float = 0.5\n", "    eta: float = 0.5\n    intervals = lambda self, steps: 2\n"),
        "samples of spread 0.5 have the spread",
    ),
    "samplers_find_classes": (
        change("conf/sampler/categorical/toy/drawn.yaml", "top_p: 1.0", "top_p: 0.5"),
        "samples of classes as frequent as",
    ),
    "scores_are_figures": (change("parts.py", "value=value,", 'value=float("nan"),'), "real data as samples score nan"),
    "a_run_is_made_from_the_command_line": (
        change("data.py", 'path.write_text("\\n".join(captions))', 'path.write_text("x") if "real" in captions else 0'),
        "missing: ['sheet.png']",
    ),
    "a_killed_run_goes_on": (
        change("network.py", HIDDEN, "        self.kinds.age = getattr(self.kinds, 'age', 0) + 0.1\n"
               "        told = told + self.kinds.age\n" + HIDDEN),
        "after a kill and a resume",
    ),
    "components_leave_the_process_alone": (
        change("parts.py", "class Walk(", "print('hello')\ntorch.set_num_threads(3)\n\n\nclass Walk("),
        "number of threads to 3",
    ),
}  # fmt: skip


def test_a_sound_plugin_passes(make: Make) -> None:
    wrong = {name: outcome(task) for name, task in make().items() if name not in SLOW}
    assert {name: line for name, (state, line) in wrong.items() if state != "ok"} == {}


@pytest.mark.slow
def test_a_sound_plugin_survives_a_kill(make: Make) -> None:
    known = make()
    assert {name: outcome(known[name]) for name in SLOW} == dict.fromkeys(SLOW, ("ok", ""))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in DEFECTS]
)
def test_a_defect_is_found(make: Make, name: str) -> None:
    act, why = DEFECTS[name]
    state, line = outcome(make(act)[name])
    assert state == "FAILED"
    assert why in line


LISTED = "  - /metric: toy/spread        # spread\n"
MODALITY = "conf/modality/toy.yaml"


@pytest.mark.parametrize(
    ("inline", "why"),
    [
        ("{name: spred}  # scores", "no such metric (known: spread); did you mean 'spread'?"),
        ("{name: spread}  # scores", "toy.yaml: metric: most of spread is not among the keys"),
    ],
)
def test_a_component_without_a_file_has_to_fit_too(make: Make, inline: str, why: str) -> None:
    inlined = change(MODALITY, "modality:\n", f"metric: {inline}\nmodality:\n")
    known = make(move("conf/metric/toy/spread.yaml", "gone.yaml"), change(MODALITY, LISTED, ""), inlined)
    state, line = outcome(known["configuration_fits_its_components"])
    assert state == "FAILED"
    assert why in line


def test_a_number_that_is_none_is_said_to_be_that(make: Make) -> None:
    """And not that items differ: nan never equals itself."""
    known = make(change("data.py", '(np.asarray(value["points"]))', '(value["points"]) / (count != 5)'))
    assert outcome(known["items_are_the_same_every_time"]) == ("ok", "")
    assert outcome(known["states_fit_their_fields"])[1] == "field positions: a number of data.train[3] is not finite"


def test_no_check_is_missing() -> None:
    """Whoever takes one out, or adds one without a defect that it finds, has to say so here."""
    assert [check.name for check in CHECKS] == list(DEFECTS)
    assert all(check.about.endswith(".") and len(check.about) < 120 for check in CHECKS)


# The two runners -----------------------------------------------------------------------------------------------------

WORDS = ("modality=toy", "sampler=plain")
LIGHT = "registration_imports_nothing_heavy"
PLACED = "configuration_lies_in_its_own_folders"
HEAVY = DEFECTS[LIGHT][0]


def test_a_known_failure_is_strict(make: Make) -> None:
    known = make(HEAVY, trial=Trial(words=WORDS, expected={LIGHT: "numpy is small", PLACED: "no reason"}))
    assert outcome(known[LIGHT]) == ("known", "numpy is small")
    assert outcome(known[PLACED]) == ("FAILED", "passes, but is expected to fail: no reason")


def test_pytest_is_told_the_same(make: Make) -> None:
    trial = Trial(words=WORDS, expected={LIGHT: "numpy is small"})
    known = make(HEAVY, trial=trial)
    params = parametrize_with_checks("toy", trial).args[1]
    assert [param.id for param in params] == list(known)
    marks = {param.id: [(mark.name, mark.kwargs) for mark in param.marks] for param in params if param.marks}
    assert marks == {LIGHT: [("xfail", {"reason": "numpy is small", "strict": True})]}
    calls = {param.id: param.values[0] for param in params}
    calls[PLACED]()
    with pytest.raises(Failed, match="imports numpy"):
        calls[LIGHT]()
    with pytest.raises(pytest.skip.Exception, match="no symmetries"):
        calls["the_network_keeps_its_symmetries"]()


def test_a_check_that_does_not_exist_cannot_be_expected_to_fail(make: Make) -> None:
    with pytest.raises(PluginError, match=f"no such check 'configuration_lies_in_its_folders'.*{PLACED}"):
        make(trial=Trial(words=WORDS, expected={"configuration_lies_in_its_folders": "typing error"}))


def test_trials_have_names_in_the_list(make: Make) -> None:
    make()
    trials = [Trial(name=name, words=WORDS) for name in ("one", "two")]
    labels = [task.label for task in tasks("toy", *trials)]
    assert len(set(labels)) == len(labels)
    assert labels.count(LIGHT) == 1
    assert {"one/padding_changes_nothing", "two/padding_changes_nothing"} <= set(labels)


def test_the_command_line_runs_the_same_list(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With code 2 where a check fails, and a line for each."""
    make(HEAVY)
    monkeypatch.setattr("suffuse.testing.catalogue.CHECKS", tuple(c for c in CHECKS if c.name in (LIGHT, PLACED)))
    assert main(["plugins", "check", "toy"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "plugin 'toy' (from dist-suffuse_toy 1.2): 2 checks"
    assert lines[1].split()[0] == "FAILED"
    assert lines[1].endswith("and import it there")
    assert lines[2].split() == ["ok", lines[2].split()[1], "s", PLACED]
    assert lines[3] == "1 FAILED, 1 ok"
    assert main(["plugins", "check", "toy", *WORDS]) == 2
    assert main(["plugins", "check"]) == 2
    assert "plugins check NAME" in capsys.readouterr().err


def test_what_fails_for_one_reason_says_it_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(change("data.py", "        self.train, self.heldout =", "        raise OSError('gone')\n        self.train ="))
    names = ("items_are_the_same_every_time", "splits_share_no_item")
    monkeypatch.setattr("suffuse.testing.catalogue.CHECKS", tuple(c for c in CHECKS if c.name in names))
    assert main(["plugins", "check", "toy"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("OSError: gone")
    assert lines[2].endswith(f"splits_share_no_item           as {names[0]}")


PARTS = """
from suffuse import hookimpl
from suffuse.plugins import Trial

@hookimpl
def suffuse_components():
    return {"solver": {"slow": "PACKAGE.rule:Slow"}}

@hookimpl
def suffuse_trials():
    return [Trial(words=["modality=toy", "sampler=slow/slow"])]
"""
RULE = """
from dataclasses import dataclass

from suffuse.sampling import DDIM

@dataclass(frozen=True)
class Slow(DDIM):
    \"\"\"A rule like another.\"\"\"

    eta: float = 0.0
"""
OPTION = """# A rule.
defaults:
  - /sampler/grid@grid: uniform_lambda  # where it stops
  - /sampler/categorical@categorical: ancestral  # of classes
  - _self_
name: slow/slow  # the rule
steps: 4  # evaluations
eta: 0.0  # stochasticity
"""


def test_a_plugin_of_parts_is_checked_for_what_it_brings(make: Make, tmp_path: Path) -> None:
    make()
    write(tmp_path, "slow", PARTS, rule=RULE, conf={"sampler/slow/slow.yaml": OPTION})
    known = {task.check.name: task for task in tasks("slow")}
    assert not {"splits_share_no_item", "padding_changes_nothing", "scores_are_figures"} & set(known)
    assert {"samplers_find_numbers", "a_seed_makes_one_sample", "a_run_is_made_from_the_command_line"} <= set(known)
    wrong = {name: outcome(task) for name, task in known.items() if name not in SLOW}
    assert {name: line for name, (state, line) in wrong.items() if state == "FAILED"} == {}
    forget("made_slow")
