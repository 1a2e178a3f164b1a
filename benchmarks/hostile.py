"""Files and settings that would do harm, each met in a process of its own by the entry point that a user would call.

An input is handled if it is refused in one line that names it, or left out by name or number while the good files
beside it are used, or, where it is odd and yet sound, used; within five seconds and one gigabyte, and with nothing of
it run. The seconds are those of work by it and the processes that it starts, which other work on the machine does not
change; what sleeps is ended too. The corpus is `benchmarks.hostile_inputs`.
"""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Bar, Findings, Options, Table
from benchmarks.hostile_inputs import CANARY, Case, cases, sound_run, warm
from suffuse.errors import SuffuseError

__all__ = ["measure"]

SECONDS, MEGABYTES = 5.0, 1000.0
MOST_WORK, PATIENCE = 20.0, 90.0
"""Seconds of work, and seconds that go by, after which a process is ended."""
FORK = multiprocessing.get_context("fork")
LOOK = 0.05


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one input.

    Args:
        what: ``refused``, ``left out``, ``taken``, or what else happened.
        handled: whether that is right for this input, and was quick and small enough.
        megabytes: above what the process had before, together with those of the processes that it started.
    """

    case: Case
    what: str
    handled: bool
    seconds: float
    megabytes: float


def measure(options: Options) -> Findings:
    """Meet every input, and count what became of it."""
    torch.set_num_threads(1)
    place = (options.runs / "hostile").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    maker = FORK.Process(target=sound_run, args=(place / "run",))  # not here: threads of training survive no fork
    maker.start()
    maker.join()
    warm(place / "warm")
    gc.freeze()  # so that collecting garbage copies no pages in the children
    found = [meet(case, place / f"{number:03d}") for number, case in enumerate(chosen(place, options.quick))]
    unhandled = [each for each in found if not each.handled]
    limits = f"within {SECONDS:g} s and {MEGABYTES / 1000:g} GB"
    kinds = list(dict.fromkeys(each.case.kind for each in found))
    tables = [
        Table(
            title="Hostile inputs",
            columns=("class", "tried", "handled", "refused", "left out", "used", "slowest s", "most MB"),
            rows=[row(kind, [each for each in found if each.case.kind == kind]) for kind in kinds]
            + [row("all", found)],
        )
    ]
    if unhandled:
        tables.append(
            Table(
                title="Not handled",
                columns=("class", "input", "what happened", "s", "MB"),
                rows=[
                    [each.case.kind, each.case.name, each.what, round(each.seconds, 2), round(each.megabytes)]
                    for each in unhandled
                ],
            )
        )
    return Findings(
        bars=[
            Bar(
                promise=f"of {len(found)} hostile inputs all are handled {limits}",
                found=len(found) - len(unhandled),
                met=not unhandled,
            )
        ],
        tables=tables,
        settings={
            "items of the list that are among them": len({each.case.item for each in found if each.case.item}),
            "seconds of one input": SECONDS,
            "MB of one input": MEGABYTES,
        },
    )


def chosen(place: Path, quick: bool) -> list[Case]:
    """All inputs of what is installed, or the first of each class."""
    every = [
        case for case in cases(place / "run") if not case.needs or importlib.util.find_spec(case.needs) is not None
    ]
    return list({case.kind: case for case in reversed(every)}.values())[::-1] if quick else every


def row(kind: str, outcomes: Sequence[Outcome]) -> list[Any]:
    """One line of the table."""
    handled = [each.what for each in outcomes if each.handled]
    return [
        kind,
        len(outcomes),
        len(handled),
        *(handled.count(what) for what in ("refused", "left out", "taken")),
        round(max(each.seconds for each in outcomes), 2),
        round(max(each.megabytes for each in outcomes)),
    ]


def meet(case: Case, folder: Path) -> Outcome:
    """Write the input and let a process meet it; what is said is kept beside the folder."""
    folder.mkdir()
    case.write(folder)
    theirs, ours = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_met, args=(case, folder, ours))
    began = time.perf_counter()
    process.start()
    ours.close()
    assert process.pid is not None
    descendants: dict[int, float] = {}
    seconds, before = 0.0, _most(process.pid)
    own = before
    while process.is_alive() and seconds < MOST_WORK and time.perf_counter() - began < PATIENCE:
        below = _below(process.pid)
        descendants |= {child: most for child in below if (most := _most(child))}  # the last look at each counts
        seconds = sum(map(_work, (process.pid, *below)))
        own = _most(process.pid) or own
        process.join(LOOK)
    if late := process.is_alive():
        for each in (process.pid, *_below(process.pid)):
            os.kill(each, signal.SIGKILL)
    process.join()
    if theirs.poll() and not late:
        what, seconds, megabytes = theirs.recv()
    else:
        name = "" if late else signal.Signals(-(process.exitcode or -1)).name
        what, megabytes = "went on and on, and was ended" if late else f"the process died: {name}", own - before
    megabytes += sum(descendants.values())
    handled = what in ("refused", "left out", "taken")
    if handled and (folder / CANARY).exists():
        handled, what = False, f"{what}, but it ran"
    elif handled and (seconds > SECONDS or megabytes > MEGABYTES):
        handled, what = False, f"{what}, too slow or too large"
    shutil.rmtree(folder)
    return Outcome(case=case, what=what, handled=handled, seconds=seconds, megabytes=megabytes)


def _met(case: Case, folder: Path, answer: Connection) -> None:
    """What the process does: judge what is said and how many items are used."""
    os.chdir(folder)
    said = folder.with_suffix(".said")
    stream = os.open(said, os.O_WRONLY | os.O_CREAT)
    for each in (1, 2):
        os.dup2(stream, each)
    before, began = _own(), _spent()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            what = _fate(case, case.meet(folder), caught, said)
        except SuffuseError as error:
            text = str(error)
            print(text, file=sys.stderr)
            what = "refused"
            if "\n" in text:
                what = f"refused in {len(text.splitlines())} lines: {text.splitlines()[0]}"
            elif case.says not in text:
                what = f"refused without naming {case.says!r}: {text[:120]}"
        except BaseException as error:  # whatever it is, it is what is counted here
            places = [each for each in traceback.extract_tb(error.__traceback__) if "/suffuse" in each.filename]
            where = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "outside suffuse"
            what = f"{type(error).__name__} in {where}: {' '.join(str(error).split())[:100]}"
            traceback.print_exc()
    answer.send((what, _spent() - began, _own() - before))


def _fate(case: Case, used: int | None, caught: Sequence[warnings.WarningMessage], said: Path) -> str:
    """Of an input that raised nothing."""
    sys.stderr.flush()
    told = [str(each.message) for each in caught]
    print("\n".join(told), file=sys.stderr, flush=True)
    if used == case.good and case.says in said.read_text(errors="replace"):
        return f"a warning of {len(told)} lines" if any("\n" in each for each in told) else "left out"
    if case.sound and used in (case.good, case.good + 1):
        return "taken"
    return f"used {used} where {case.good} are good, and nothing was said" if used is not None else "taken as sound"


def _own() -> float:
    """Most MB that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _spent() -> float:
    """Seconds of work of this process, and of those that it has waited for."""
    return sum(os.times()[:4])


def _work(process: int) -> float:
    """Seconds of work of another process, and of those that it has waited for."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _below(process: int) -> list[int]:
    """The processes that it started, and theirs."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text(errors="replace").rpartition(")")
            if int(rest.split()[1]) == process:
                children.append(int(name.split()[0]))
    return [*children, *(each for child in children for each in _below(child))]


def _most(process: int) -> float:
    """Most MB that another process ever had."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
