"""Chemistry in child processes: answers come in order, and what hangs or kills is named and costs nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rdkit")

from suffuse_molecule.workers import Lost, Workers, alone

TASK = "worker_tasks:work"


def run(chunks: list[list[object]], *, processes: int = 1, seconds: float = 30.0, extra: int = 0) -> list[list[object]]:
    with Workers(TASK, extra, processes=processes, seconds=seconds) as workers:
        return list(workers.map(chunks))


def test_answers_come_in_order_from_any_number_of_processes() -> None:
    chunks: list[list[object]] = [[place, place + 1] for place in range(0, 40, 2)]
    expected = [[2 * value + 1 for value in chunk] for chunk in chunks]  # type: ignore[operator]
    assert run(chunks, processes=2, extra=1) == run(chunks, processes=0, extra=1) == expected


def test_what_hangs_or_kills_is_lost_alone() -> None:
    """All the others of its chunk keep their answers."""
    found = run([[1, "die", 2], [3], [4, "hang", "die"], [5]], seconds=1.0)
    assert found == [[2, "crash", 4], [6], [8, "timeout", "crash"], [10]]
    assert [isinstance(each, Lost) for each in found[0]] == [False, True, False]


def test_an_answer_that_cannot_be_sent_ends() -> None:
    assert run([[1, 2, "odd"], [3]]) == [[2, 4, "crash"], [6]]


def test_each_item_has_all_the_time() -> None:
    """Not its chunk, however long that is."""
    assert run([["think"] * 8], seconds=0.5) == [["think"] * 8]
    assert run([["think"] * 2], seconds=0.05) == [["timeout"] * 2]


def test_one_item_has_a_process_of_its_own() -> None:
    assert alone(TASK, 4, 1) == 9
    assert alone(TASK, "die") == "crash"
    assert alone(TASK, "hang", seconds=1.0) == "timeout"


def test_a_busy_machine_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock counts work. Only a child that would sleep for ever is ended by the time that goes by."""
    assert alone(TASK, "nap", seconds=0.3) == "nap"
    monkeypatch.setattr("suffuse_molecule.workers._PATIENCE", 1.0)
    assert alone(TASK, "nap", seconds=0.3) == "timeout"


def test_few_chunks_are_read_ahead() -> None:
    """A file of millions of lines must not be read before it is worked on."""
    read = 0

    def chunks() -> object:
        nonlocal read
        for place in range(50):
            read = place + 1
            yield [place]

    with Workers(TASK, processes=1) as workers:
        answers = workers.map(chunks())  # type: ignore[arg-type]
        assert next(answers) == [0]
        assert read <= 4
        assert len(list(answers)) == 49


def test_a_mistake_of_ours_is_not_taken_for_a_bad_molecule() -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        run([["fail"]])


def test_nothing_is_left_running() -> None:
    with Workers(TASK, processes=1) as workers:
        assert list(workers.map([[1]])) == [[2]]
        (child,) = workers._children
        process = child._process
        assert process is not None
        process.send_signal(signal.SIGINT)  # as Ctrl-C does to all of a terminal's processes
        assert list(workers.map([[2]])) == [[4]]
        assert process.poll() is None
    assert process.poll() is not None


def test_children_start_without_torch() -> None:
    """They are many, short-lived and limited in memory."""
    modules = ", ".join(f"suffuse_molecule.{name}" for name in ("data.library", "examination", "scaffolds", "scoring"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
