"""A request for samples is made once, whole, whoever is killed on the way and however many share the work."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from suffuse import shards
from suffuse.errors import RunError
from suffuse.shards import Shard, Shards, content

REQUEST = {"seed": 3, "n": 20, "sampler": {"name": "ddim", "steps": 5}}
FORK = multiprocessing.get_context("fork")


def digest(index: int) -> str:
    return hashlib.sha256(str(index).encode()).hexdigest()


WHOLE = content(map(digest, range(20)))


def opened(folder: Path, size: int = 6, count: int = 20, made: str = "now", **request: Any) -> Shards:
    return Shards(folder, range(count), size, {**REQUEST, **request}, {"made": made})


def write(shard: Shard) -> dict[str, Any]:
    for index in shard.indices:
        (shard.draft / f"sample-{index:06d}.txt").write_text(f"{index}" * 50)
    samples = [{"index": index, "sha256": digest(index)} for index in shard.indices]
    counts = {"count": len(samples), "invalid": sum(index % 5 == 0 for index in shard.indices)}
    return {**counts, "content": content(map(digest, shard.indices)), "samples": samples}


def together(places: Sequence[Path], draft: Path) -> None:
    """What is made of all shards: one file of all of theirs."""
    lines = [file.read_text() for place in places for file in sorted(place.glob("sample-*.txt"))]
    (draft / "all.csv").write_text("\n".join(lines))


class StopError(Exception):
    """Something went wrong on the way."""


def make(
    folder: Path,
    size: int = 6,
    pause: float = 0.0,
    stop: int = -1,
    join: Callable[[Sequence[Path], Path], None] = together,
    **settings: Any,
) -> list[int]:
    """All that is left. Returns the numbers of the shards that this process made."""
    request, numbers = opened(folder, size, **settings), []
    with closing(request.todo(join)) as todo:
        for shard in todo:
            if shard.number == stop:
                raise StopError
            time.sleep(pause)
            part = write(shard)
            time.sleep(pause)
            request.commit(shard, part)
            numbers.append(shard.number)
    return numbers


def manifest(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "samples.json").read_text())
    assert isinstance(found, dict)
    return found


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_small_request_lies_open(tmp_path: Path) -> None:
    assert make(tmp_path / "o", size=20) == [0]
    assert names(tmp_path / "o") == {"samples.json", *(f"sample-{index:06d}.txt" for index in range(20))}
    found = manifest(tmp_path / "o")
    assert [sample["index"] for sample in found["samples"]] == list(range(20))
    assert (found["count"], found["invalid"], found["content"]) == (20, 4, WHOLE)
    for name, file in found["files"].items():
        data = (tmp_path / "o" / name).read_bytes()
        assert file == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [1, 6, 7, 19])
def test_a_large_one_comes_in_parts(tmp_path: Path, size: int) -> None:
    """Numbers, counts and content are those of any other size."""
    make(tmp_path / "o", size)
    found = manifest(tmp_path / "o")
    assert (found["count"], found["invalid"], found["content"]) == (20, 4, WHOLE)
    assert [part["first"] for part in found["shards"]] == list(range(0, 20, size))
    assert found["seed"] == 3
    for part in found["shards"]:
        file = tmp_path / "o" / part["folder"] / "samples.json"
        assert part["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sum(name.endswith(".txt") for name in names(tmp_path / "o")) == 20
    whole = "\n".join(f"{index}" * 50 for index in range(20)).encode()
    assert (tmp_path / "o" / "all.csv").read_bytes() == whole
    assert found["files"] == {"all.csv": {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}}


def test_any_indices_keep_their_numbers(tmp_path: Path) -> None:
    request = Shards(tmp_path / "o", [7, 3, 100], 2, REQUEST, {})
    with closing(request.todo()) as todo:
        for shard in todo:
            request.commit(shard, write(shard))
    assert [part["first"] for part in manifest(tmp_path / "o")["shards"]] == [7, 100]
    assert "shard-000001/sample-000100.txt" in names(tmp_path / "o")


def test_repeating_makes_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path / "o")
    before = {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in names(tmp_path / "o")}
    assert make(tmp_path / "o") == []
    (tmp_path / "o" / "shard-000002" / "sample-000013.txt").unlink()
    (tmp_path / "o" / "shard-000000" / "samples.json").write_text("{")
    assert make(tmp_path / "o") == [0, 2]
    after = {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in names(tmp_path / "o")}
    assert after.keys() == before.keys()
    unchanged = {name for name in before if name.startswith(("shard-000001", "shard-000003"))}
    assert all(after[name] == before[name] for name in unchanged)
    assert manifest(tmp_path / "o")["content"] == WHOLE


def test_what_is_made_of_all_is_made_once(tmp_path: Path) -> None:
    """After an error, too; and anew where it was taken away."""
    folder, calls = tmp_path / "o", []

    def fail(places: Sequence[Path], draft: Path) -> None:
        (draft / "all.csv").write_text("half")
        raise StopError

    def counted(places: Sequence[Path], draft: Path) -> None:
        calls.append(len(places))
        together(places, draft)

    with pytest.raises(StopError):
        make(folder, join=fail)
    assert not {"samples.json", "all.csv"} & names(folder)
    assert not [name for name in names(folder) if "claim" in name or "draft" in name]
    for _ in range(2):
        assert make(folder, join=counted) == []
    assert calls == [4]
    (folder / "all.csv").unlink()
    assert make(folder, join=counted) == []
    assert calls == [4, 4]
    assert (folder / "all.csv").is_file()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "seed=3, not 4"),
        ({"sampler": {"name": "ddim", "steps": 6}}, "sampler="),
        ({"n": 21}, "n=20, not 21"),
    ],
)
def test_another_request_is_refused(tmp_path: Path, change: dict[str, Any], words: str, finished: bool) -> None:
    folder = tmp_path / "o"
    if finished:
        make(folder)
    else:
        opened(folder)
    before = names(folder)
    with pytest.raises(RunError, match=words) as caught:
        opened(folder, **change)
    assert "\n" not in str(caught.value)
    assert names(folder) == before


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="not empty"):
        opened(tmp_path)
    assert names(tmp_path) == {"mine.txt"}


def test_times_are_those_of_whoever_began(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "o", made="then"), opened(tmp_path / "o", made="later")
    assert first.header["made"] == second.header["made"] == "then"


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a claim nor, where no shard was made, a folder."""
    for number, left in ((0, set[int]()), (1, {0})):
        with pytest.raises(StopError):
            make(tmp_path / "o", stop=number)
        assert (tmp_path / "o").exists() == bool(left)
    assert not [name for name in names(tmp_path / "o") if "claim" in name or "draft" in name or "process" in name]
    assert make(tmp_path / "o") == [1, 2, 3]


def test_a_full_disk_is_said_and_the_shard_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if path.name == "sample-000008.txt":
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError, match=r"shard-000001: the samples cannot be written \(No space left on device\)"):
        make(tmp_path / "o")
    monkeypatch.undo()
    assert make(tmp_path / "o") == [1, 2, 3]


# Processes


def spawn(task: Callable[..., Any], *arguments: Any) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=task, args=arguments)
    process.start()
    return process


def noted(folder: Path, place: Path, pause: float) -> None:
    numbers = make(folder, 2, pause)
    (place / f"{os.getpid()}.json").write_text(json.dumps(numbers))


def shared(folder: Path, place: Path, processes: int = 3) -> list[int]:
    """The numbers of the shards that some processes made together, in order."""
    place.mkdir()
    running = [spawn(noted, folder, place, 0.01) for _ in range(processes)]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    return sorted(number for file in place.iterdir() for number in json.loads(file.read_text()))


def test_processes_share_the_work(tmp_path: Path) -> None:
    """Each shard is made once, all of them wait for the last, and nothing but samples is left."""
    assert shared(tmp_path / "o", tmp_path / "who") == list(range(10))
    assert manifest(tmp_path / "o")["content"] == WHOLE
    assert not (tmp_path / "o" / ".unfinished").exists()


def test_claims_that_exclude_nobody_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: work is done twice, but still the samples are the same."""
    monkeypatch.setattr(Shards, "_claim", lambda self, number: True)
    assert len(shared(tmp_path / "o", tmp_path / "who")) > 10
    assert manifest(tmp_path / "o")["content"] == WHOLE


@pytest.mark.parametrize("size", [2, 20])
def test_killed_and_repeated_is_never_killed(tmp_path: Path, size: int) -> None:
    """At random moments, with two processes at work; whatever is there has its manifest, and that is true."""
    chance = random.Random(size)
    folder, kills = tmp_path / "o", 0
    for _ in range(10):
        running = [spawn(make, folder, size, size / 500) for _ in range(2)]
        time.sleep(chance.uniform(0.01, 0.1))
        for process in running:
            if process.is_alive():
                process.kill()
                kills += 1
        for process in running:
            process.join()
        if (folder / "samples.json").is_file():
            assert make(folder, size) == []
            assert not (folder / ".unfinished").exists()
            folder.rename(tmp_path / f"finished-{kills}")
        for file in [*folder.glob("samples.json"), *folder.glob("shard-*/samples.json")]:
            found = json.loads(file.read_text())
            for name, facts in found.get("files", {}).items():
                assert hashlib.sha256((file.parent / name).read_bytes()).hexdigest() == facts["sha256"]
    assert kills > 2
    assert all(manifest(each)["content"] == WHOLE for each in tmp_path.glob("finished-*"))
    make(folder, size)
    assert manifest(folder)["content"] == WHOLE
    make(tmp_path / "whole", size)
    assert names(folder) == names(tmp_path / "whole")


def stranger(folder: Path, machine: str, process: int, age: float) -> None:
    """The claim of a process on the first shard."""
    work = folder / ".unfinished"
    beat = work / "process-abc"
    beat.write_text(f"{machine} {process}")
    os.utime(beat, (time.time() - age, time.time() - age))
    (work / "claim-0").write_text("abc")
    (work / "draft-0-abc").mkdir()


def gone() -> int:
    """The number of a process that has ended."""
    process = spawn(int)
    process.join()
    assert process.pid is not None
    return process.pid


@pytest.mark.parametrize(
    ("machine", "process", "age"),
    [("elsewhere", 1, 61.0), (platform.node(), 0, 0.0), ("elsewhere", os.getpid(), 3600.0)],
    ids=["silent", "ended", "of a number that lives here"],
)
def test_claims_of_the_dead_are_taken_over(tmp_path: Path, machine: str, process: int, age: float) -> None:
    opened(tmp_path / "o")
    stranger(tmp_path / "o", machine, process or gone(), age)
    assert make(tmp_path / "o") == [0, 1, 2, 3]
    assert not (tmp_path / "o" / ".unfinished").exists()


@pytest.mark.parametrize(
    ("machine", "process", "age"),
    [("elsewhere", 1, 30.0), (platform.node(), os.getpid(), 30.0)],
    ids=["elsewhere", "here"],
)
def test_claims_of_the_living_are_respected(
    tmp_path: Path, machine: str, process: int, age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the other has made the shard, or has given no sign of life for a minute."""
    opened(tmp_path / "o")
    stranger(tmp_path / "o", machine, process, age)
    looks: Sequence[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: looks.append(seconds) or die())  # type: ignore[attr-defined]

    def die() -> None:
        if len(looks) == 12:
            os.utime(tmp_path / "o" / ".unfinished" / "process-abc", (0, 0))

    assert make(tmp_path / "o") == [1, 2, 3, 0]
    assert shards._LOOK in looks
