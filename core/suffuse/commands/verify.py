"""``suffuse verify FILE``: what a file says of where it comes from, what of that can be checked, and what cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from suffuse.data import Decoder
from suffuse.disk import sha256
from suffuse.documents import read_json
from suffuse.errors import ConfigError, DataError, PluginError, RunError
from suffuse.plugins import Registry
from suffuse.runs import Run

__all__ = ["Finding", "find_record", "verify"]

_MANIFEST = "samples.json"
_LIMITS = (
    "A record can be stripped or forged by whoever saves a file again, so a file without one may be generated too, and",
    "one with a record proves no more than the checks above. With the run and its seed, the sample can be made again.",
)


class Finding(NamedTuple):
    """One check.

    Args:
        what: was looked at.
        result: in words.
        holds: whether it speaks for the record; None where it could not be made.
    """

    what: str
    result: str
    holds: bool | None


def verify(file: Path, run: Path | None = None) -> tuple[dict[str, Any], list[Finding]]:
    """The record of a file and what was found out about it.

    Args:
        file: that `suffuse sample` wrote.
        run: the run directory to compare with; by default one in which the file lies.

    Raises:
        DataError: the file is missing, or no installed plugin finds a record in it.
        RunError: ``run`` is no run.
    """
    record = find_record(file)
    return record, [_unchanged(file), *_of_run(record, file, run)]


def find_record(file: Path) -> dict[str, Any]:
    """The provenance record in a file of any installed plugin's.

    Raises:
        DataError: the file is missing, or there is none in it.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file")
    reasons = []
    ending = file.suffix.lower()
    for decoder in sorted(_decoders(), key=lambda kind: ending not in (kind.suffix, *kind.suffixes)):
        try:
            return decoder.read_record(file)
        except DataError as error:
            reasons.append(str(error))
    raise DataError(reasons[0] if reasons else f"{file}: no plugin is installed that could read it")


def text(record: dict[str, Any], findings: list[Finding]) -> str:
    """Both for people."""
    width = max(map(len, record), default=0)
    lines = [f"  {name:<{width}}  {value}" for name, value in record.items() if value not in (None, "")]
    marks = {True: "yes", False: "NO", None: "-"}
    checks = [f"  {marks[finding.holds]:<3} {finding.what}: {finding.result}" for finding in findings]
    return "\n".join(["what the record says", *lines, "what could be checked", *checks, *_LIMITS])


def _decoders() -> Iterator[type[Decoder]]:
    registry = Registry()
    seen = set()
    for name in registry.found:
        try:
            known = registry.load(name).get("decoder", {})
        except PluginError:
            continue
        for short in known:
            try:
                kind = registry.find("decoder", f"{name}/{short}")
            except (PluginError, ConfigError):  # one that lacks a package cannot read; others may
                continue
            reader = getattr(kind, "read_record", None)
            if isinstance(kind, type) and issubclass(kind, Decoder) and reader not in seen:
                seen.add(reader)
                yield kind


def _unchanged(file: Path) -> Finding:
    what = f"the file is as {_MANIFEST} beside it says"
    manifest = file.parent / _MANIFEST
    if not manifest.is_file():
        return Finding(what, f"there is no {_MANIFEST} beside it", None)
    try:
        listed = {name: entry["sha256"] for name, entry in read_json(manifest)["files"].items()}
    except (RunError, LookupError, TypeError, AttributeError):
        return Finding(what, f"{_MANIFEST} is damaged", False)
    if file.name not in listed:
        return Finding(what, f"{_MANIFEST} does not list it", False)
    if listed[file.name] != sha256(file):
        return Finding(what, "its SHA-256 is another: it was changed after it was made", False)
    return Finding(what, "the SHA-256 is the same", True)


def _of_run(record: dict[str, Any], file: Path, folder: Path | None) -> list[Finding]:
    what = "the run has the checkpoint that the record names"
    if folder is None:
        inside = [parent for parent in file.resolve().parents if (parent / "config.yaml").is_file()]
        if not inside:
            return [Finding(what, "the file lies in no run; give run=DIR", None)]
        folder = inside[0]
    run, _ = Run.find(folder)
    step = record.get("step")
    try:
        checkpoint = run.checkpoint(step if isinstance(step, int) else None)
    except RunError as error:
        return [Finding(what, f"{error}", None)]
    same = checkpoint.digest == record.get("checkpoint")
    return [Finding(what, f"step {checkpoint.step}, {'the same' if same else 'another'} SHA-256", same)]
