"""The command line: what is typed, what Hydra gets, and what people see when it is wrong."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from suffuse.arguments import chosen_modalities, prepare
from suffuse.cli import main
from suffuse.composition import conf_folders
from suffuse.errors import ConfigError, DataError, RunError, SuffuseError
from suffuse.plugins import Registry
from suffuse.training.trainer import Interrupted

FOLDERS = conf_folders(Registry())
COMMANDS = ("train", "sample", "evaluate", "report")
Calls = list[tuple[str, dict[str, Any], Path]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Commands that only note that they were called; each test runs in a folder of its own."""
    made: Calls = []

    def stand_in(name: str) -> types.ModuleType:
        module = types.ModuleType(f"suffuse.commands.{name}")
        vars(module)[name] = lambda config, directory: made.append((name, config, directory))
        return module

    for name in COMMANDS:
        monkeypatch.setitem(sys.modules, f"suffuse.commands.{name}", stand_in(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("SUFFUSE_TRACEBACK", raising=False)
    logger = logging.getLogger()  # Hydra configures it, with the stderr of this one test
    before = logger.handlers[:], logger.level
    yield made
    logger.handlers, level = before
    logger.setLevel(level)


def raising(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, before: Callable[[Path], object] | None = None
) -> None:
    module = types.ModuleType("suffuse.commands.train")

    def train(config: dict[str, Any], directory: Path) -> None:
        if before:
            before(directory)
        raise error

    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, "suffuse.commands.train", module)


def value_of(argument: str) -> Any:
    return OverridesParser.create().parse_override(argument).value()


def run(*arguments: str) -> int:
    """`main`, with an exit through SystemExit counted as one."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


# What Hydra gets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["modality=image", "data=folder"], ["modality=image", "data=image/folder"]),
        (["backbone=dit", "modality=image"], ["backbone=image/dit", "modality=image"]),
        (["modality=image", "data=image/folder"], ["modality=image", "data=image/folder"]),
        (["modality=image", "data=digits,folder", "-m"], ["modality=image", "data=image/digits,image/folder", "-m"]),
        (["data=folder"], ["data=folder"]),
        (["modality=image", "process=vp"], ["modality=image", "process=vp"]),
        (["--cfg", "job", "modality=image"], ["modality=image", "--cfg", "job"]),
        (["--info", "modality=image"], ["modality=image", "--info"]),
        (["modality=image", "~callbacks"], ["modality=image", "~callbacks"]),
    ],
)
def test_short_names_and_flags(typed: list[str], expected: list[str]) -> None:
    assert prepare("train", typed, FOLDERS) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["condition.label=3"], ["++condition.label=3"]),
        (["condition.label=[1,2]"], ["++condition.label=[1,2]"]),
        (["condition.size=2..4"], ["++condition.size=2..4"]),
        (["sampler.steps=9"], ["++sampler.steps=9"]),
        (["sampler=heun", "sampler.steps=9"], ["sampler=heun", "sampler.steps=9"]),
        (["++guidance.scale=2"], ["++guidance.scale=2"]),
        (["guidance=learned", "guidance.scale=2"], ["guidance=learned", "guidance.scale=2"]),
        (["guidance=learned", "guidance.predictor.steps=9"], ["guidance=learned", "++guidance.predictor.steps=9"]),
        (["seed=3"], ["seed=3"]),
    ],
)
def test_keys_that_only_the_run_knows(typed: list[str], expected: list[str]) -> None:
    assert prepare("sample", typed, FOLDERS) == expected


def test_settings_of_a_modalitys_own_are_typed_like_others(tmp_path: Path) -> None:
    (tmp_path / "session" / "crystal").mkdir(parents=True)
    (tmp_path / "session" / "crystal" / "own.yaml").write_text('motif: ""  # text\nlayers: []  # a list\n')
    folders = {**FOLDERS, "crystal": tmp_path}
    assert prepare("sample", ["layers=[a,b]", "n=3"], folders) == ["++own.layers=[a,b]", "n=3"]
    (argument,) = prepare("sample", ["motif=[A]B(*)"], folders)
    assert argument.startswith("++own.motif=")
    assert value_of(argument) == "[A]B(*)"
    assert prepare("sample", [argument], folders) == [argument]
    assert prepare("evaluate", ["layers=[a]"], folders) == ["layers=[a]"]
    with pytest.raises(ConfigError, match=r"layrs is not a setting; did you mean 'layers'\?"):
        prepare("sample", ["layrs=[a]"], folders)
    assert prepare("sample", ["sed=3"], folders) == ["sed=3"]  # nearer to a setting of the core, which Hydra will say


TEXTS = [
    "c1ccc(*)cc1",
    "C(=O)O",
    "N#N",
    "[Na+].[Cl-]",
    "F/C=C\\F",
    "C[C@@H](N)C(=O)O",
    "it's",
    'say "hi"',
    "both ' and \"",
    "back\\'slash",
    "ends in \\",
    "déjà vu.png",
    "~/x",
    "a&b;c",
    "{curly}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_the_grammar_refuses_arrives_as_typed(text: str) -> None:
    (argument,) = prepare("sample", [f"condition.scaffold={text}"], FOLDERS)
    assert value_of(argument) == text
    assert prepare("sample", [argument], FOLDERS) == [argument]


@pytest.mark.parametrize("text", [*TEXTS, "/x/epoch=3.csv", "my photo.png", "a,b.png", "123", "true", "[x].png", " x "])
def test_a_path_is_never_anything_but_text(text: str) -> None:
    for key in ("input", "data.path", "hydra.run.dir"):
        (argument,) = prepare("train", [f"{key}={text}", "--cfg", "job"], FOLDERS)[:1]
        assert value_of(argument) == text


def test_values_of_hydra_are_left_alone() -> None:
    for typed in (
        "trainer.steps=3",
        "trainer.betas=[0.9,0.95]",
        "x={a:1}",
        "input=null",
        "data.path=${oc.env:HOME}",
        "a='b c'",
    ):
        assert prepare("train", [typed], FOLDERS) == [typed]
    assert prepare("train", ["data.path=a,b", "--multirun"], FOLDERS) == ["data.path=a,b", "--multirun"]


@pytest.mark.parametrize(
    ("command", "typed", "part"),
    [
        ("train", ["trainer.steps"], "KEY=VALUE"),
        ("train", ["=3"], "no key"),
        ("train", ["--cgf", "job"], "'--cfg'"),
        ("train", ["--cfg", "joob"], "job, hydra, all"),
        ("train", ["--experimental-rerun", "x.pickle"], "no such flag"),
        ("sample", ["modality=image"], "from the run"),
        ("evaluate", ["backbone.width=3"], "from the run"),
    ],
)
def test_words_that_make_no_sense(command: str, typed: list[str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        prepare(command, typed, FOLDERS)


def test_chosen_modalities() -> None:
    assert chosen_modalities(["modality=image", "seed=1"]) == ["image"]
    assert chosen_modalities(["+modality=image,audio"]) == ["image", "audio"]
    assert chosen_modalities(["modality.name=x", "data=modality"]) == []


# Runs --------------------------------------------------------------------------------------------------------------


def test_train_gets_a_checked_configuration_and_its_directory(calls: Calls, tmp_path: Path) -> None:
    assert run("train", "modality=image", "trainer.steps=1e3") == 0
    ((name, config, directory),) = calls
    assert name == "train"
    assert type(config["trainer"]["steps"]) is int
    assert directory.parent == tmp_path / "runs" / "image"
    assert (directory / ".hydra" / "overrides.yaml").is_file()
    assert Path.cwd() == tmp_path


def test_the_run_directory_may_be_given_and_is_never_overwritten(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "modality=image", "hydra.run.dir=my run=1") == 0
    assert calls[0][2].name == "my run=1"
    assert run("train", "modality=image", "hydra.run.dir=my run=1") == 2
    assert "resume=my run=1" in capsys.readouterr().err
    assert len(calls) == 1


def test_resume_replays_and_keeps_what_was_added(calls: Calls) -> None:
    assert run("train", "modality=image", "data=digits", "seed=7", "trainer.steps=10", "hydra.run.dir=a b") == 0
    assert run("train", "resume=a b", "trainer.steps=20") == 0
    assert run("train", "resume=a b/") == 0
    for _, config, directory in calls[1:]:
        assert (config["seed"], config["trainer"]["steps"], directory.name) == (7, 20, "a b")
        assert Path(config["resume"]) == Path("a b")


def test_a_resume_that_fails_leaves_the_record_alone(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "modality=image", "hydra.run.dir=a") == 0
    record = Path("a/.hydra/overrides.yaml")
    before = record.read_bytes()
    assert run("train", "resume=a", "trainer.steps=abc") == 2
    assert run("train", "resume=a", "hydra.run.dir=b") == 2
    assert record.read_bytes() == before
    assert yaml.safe_load(before) == ["modality=image"]
    assert not Path("b").exists()
    capsys.readouterr()


@pytest.mark.parametrize(("make", "part"), [(False, "no such folder"), (True, "not a run")])
def test_resume_of_what_is_no_run(calls: Calls, tmp_path: Path, make: bool, part: str) -> None:
    if make:
        (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match=f"resume=a: {part}"):
        prepare("train", ["resume=a"], FOLDERS)


def test_a_damaged_record_is_named(calls: Calls, tmp_path: Path) -> None:
    record = tmp_path / "a" / ".hydra" / "overrides.yaml"
    record.parent.mkdir(parents=True)
    for text in ("{a: 1}", "- [1", "- 3"):
        record.write_text(text)
        with pytest.raises(RunError, match=r"overrides\.yaml"):
            prepare("train", ["resume=a"], FOLDERS)


def test_a_sweep_calls_once_for_each_value(calls: Calls) -> None:
    assert run("train", "modality=image", "--multirun", "seed=1,2", "data=digits") == 0
    assert [config["seed"] for _, config, _ in calls] == [1, 2]
    assert len({directory for _, _, directory in calls}) == 2


@pytest.mark.parametrize("command", ["sample", "evaluate", "report"])
def test_other_commands_leave_no_directory_of_their_own(calls: Calls, tmp_path: Path, command: str) -> None:
    assert run(command, "run=some/run", "sampler.steps=3") == 0
    ((name, config, _),) = calls
    assert (name, config["run"], config["sampler"]) == (command, "some/run", {"steps": 3})
    assert list(tmp_path.iterdir()) == []


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        (["train", "modality=imge"], "did you mean 'image'"),
        (["train", "modality=image", "trainer.steps=abc"], "trainer.steps=abc"),
        (["train", "modality=image", "trainer.stps=1"], "'steps'"),
        (["train", "modality=image", "data=folder"], "data.path"),
        (["train", "modality=image", "data=foldr"], "'folder'"),
        (["train"], "modality=NAME"),
        (["sample"], "run=DIR"),
        (["trian", "modality=image"], "'train'"),
        (["modality=image"], "suffuse train modality=image"),
        (["run=x", "n=3"], "suffuse sample run=x n=3"),
        (["plugins", "--all"], "-v"),
    ],
)
def test_the_users_faults_are_one_line_and_leave_nothing(
    calls: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path, typed: list[str], part: str
) -> None:
    assert run(*typed) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("suffuse: ")
    assert printed.err.count("\n") == 1
    assert part in printed.err
    assert calls == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_of_a_command_is_one_line_too(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raising(monkeypatch, DataError("data.path=x: empty\nfolder"))
    assert run("train", "modality=image") == 2
    assert capsys.readouterr().err == "suffuse: data.path=x: empty folder\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_with_results_is_kept_when_it_fails(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, RunError("loss is NaN"), lambda directory: (directory / "metrics.jsonl").write_text("{}"))
    assert run("train", "modality=image", "hydra.run.dir=a") == 2
    assert Path("a/metrics.jsonl").is_file()
    assert Path("a/.hydra/overrides.yaml").is_file()
    capsys.readouterr()


def test_no_space_and_no_permission_are_the_users_to_mend(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, OSError(28, "No space left on device", "checkpoints/model.safetensors"))
    assert run("train", "modality=image") == 2
    assert capsys.readouterr().err == "suffuse: checkpoints/model.safetensors: No space left on device\n"
    Path("file").write_text("")
    assert run("train", "modality=image", "hydra.run.dir=file/run") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_is_a_traceback(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, ZeroDivisionError("oops"))
    assert run("train", "modality=image") == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_traceback_of_a_users_fault_is_there_when_asked_for(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUFFUSE_TRACEBACK", "1")
    raising(monkeypatch, SuffuseError("why"))
    assert run("train", "modality=image") == 2
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("suffuse: why\n")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (Interrupted(5, 2), 130), (Interrupted(5, 15), 143)]
)
def test_an_interrupted_run_says_so_by_its_code(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    raising(monkeypatch, error)
    assert run("train", "modality=image") == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_failed_job_of_a_sweep_says_which(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, DataError("no data"))
    assert run("train", "modality=image", "-m", "seed=4,5") == 2
    printed = capsys.readouterr().err
    assert "seed=4" in printed
    assert printed.endswith("suffuse: no data\n")


# What is shown -----------------------------------------------------------------------------------------------------


def test_alone_it_explains_itself_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") <= 14
    for command in (*COMMANDS, "verify", "checkpoints", "plugins", "new", "env"):
        assert command in printed


def test_help_of_train_lists_modalities_then_settings(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--help") == 0
    assert re.search(r"modalities: .*\bimage\b", capfd.readouterr().out)
    assert run("train", "--help", "modality=image") == 0
    printed = capfd.readouterr().out
    for part in ("data=folder", "checkpoint_every", "process: classes, cosine, edm"):
        assert part in printed
    assert "Powered by Hydra" not in printed


@pytest.mark.parametrize("command", ["sample", "evaluate", "report"])
def test_help_needs_no_run(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert f"suffuse {command} run=" in capfd.readouterr().out


def test_info_and_cfg_run_nothing(calls: Calls, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("train", "--cfg", "job", "modality=image", "trainer.steps=11") == 0
    assert yaml.safe_load(capfd.readouterr().out)["trainer"]["steps"] == 11
    assert run("train", "--info", "searchpath", "modality=image") == 0
    assert "suffuse plugin image" in capfd.readouterr().out
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def test_plugins_and_env(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plugins", "-v") == 0
    printed = capsys.readouterr().out
    assert "image" in printed
    assert "dpmpp_2m" in printed
    assert run("env") == 0
    printed = capsys.readouterr().out
    for name in ("suffuse", "torch", "python", "devices", "threads"):
        assert name in printed
    assert run("--version") == 0


# From a real shell -------------------------------------------------------------------------------------------------


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -m suffuse"
    return subprocess.run(
        ["bash", "-c", f'suffuse() {{ {command} "$@"; }}; {line}'],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_quoting_survives_a_real_shell(tmp_path: Path) -> None:
    line = "suffuse sample run=r 'condition.scaffold=c1ccc(*)cc1' input='my photo=2.png' out=/x/epoch=3 --cfg job"
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    assert config["condition"] == {"scaffold": "c1ccc(*)cc1"}
    assert (config["input"], config["out"]) == ("my photo=2.png", "/x/epoch=3")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        [],
        ["train", "--help"],
        ["train", "--cfg", "job", "modality=image", "data=folder", "data.path=x"],
        ["train", "modality=image", "trainer.steps=abc"],
        ["plugins"],
    ],
    ids=" ".join,
)
def test_the_command_line_starts_without_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, 'numpy' in sys.modules, file=sys.stderr))\n"
        f"from suffuse.cli import main\nsys.exit(main({arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("suffuse tr", {"train"}),
        ("suffuse ", {"train", "sample", "evaluate", "report", "verify", "checkpoints", "plugins", "new", "env"}),
        ("suffuse train modality=im", {"modality=image"}),
        ("suffuse train sampler=dd", {"sampler=ddim", "sampler=ddpm"}),
        ("suffuse train modality=image trainer.chec", {"trainer.checkpoint_every="}),
        ("suffuse env ", set()),
    ],
)
def test_tab_completion(line: str, expected: set[str], tmp_path: Path) -> None:
    done = shell("suffuse -sc query=bash", tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert set(done.stdout.split()) == expected, done.stderr


def test_the_completion_script_is_valid_bash(tmp_path: Path) -> None:
    done = shell(
        'script="$(suffuse -sc install=bash)"; bash -n <<< "$script" && grep -c complete <<< "$script"', tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
