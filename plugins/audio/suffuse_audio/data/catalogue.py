"""The sounds of a folder with what is known of each: which are used, which are held out, and what a person is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suffuse.errors import ConfigError, DataError, suggest
from suffuse.files import Files, common_folder
from suffuse.splits import held_out_by_key
from suffuse.tables import Known, read_table, shorten
from suffuse_audio.data.labels import compile_pattern, known_by_name, matches
from suffuse_audio.data.library import Library
from suffuse_audio.data.splits import Level

__all__ = ["Catalogue"]


@dataclass(eq=False)
class Catalogue:
    """The sounds of a folder with what is known of each, and notices for the person, one line each."""

    root: Path
    files: Files
    names: list[str] = field(init=False)
    known: list[Known] = field(init=False)
    notices: list[str] = field(default_factory=list)
    first_column: str | None = None

    def __post_init__(self) -> None:
        self.names = self.files.names
        self.known = [{} for _ in self.names]

    def learn(self, pattern: str | None, labels: str | Path | None, file_column: str | None) -> None:
        """Gather what is known of each sound."""
        shared = common_folder(self.names)
        compiled = None if pattern is None else compile_pattern(pattern, "pattern")
        found = known_by_name(self.names, shared, compiled)
        missed = [name for name, known in zip(self.names, found, strict=True) if known is None]
        if len(missed) == len(self.names):
            raise DataError(f"data.pattern={pattern}: matches no sound; the first one is {self.names[0]!r}")
        if missed:
            self.notices.append(
                f"{self.root}: {len(missed)} of {len(self.names)} sounds do not match data.pattern and are left out: "
                f"{shorten(missed)}"
            )
        self.names = [name for name, known in zip(self.names, found, strict=True) if known is not None]
        self.known = [known for known in found if known is not None]
        if labels is not None:
            table = read_table(Path(labels).expanduser(), file_column)
            rows, notices = table.align(self.names, shared, "sound")
            self.known = [
                {**known, **{column: row[column] for column in table.labels if row}}
                for known, row in zip(self.known, rows, strict=True)
            ]
            self.notices += notices
            self.first_column = table.labels[0]
        elif file_column is not None:
            raise ConfigError("data.file_column is a column of data.labels; set that")

    def check(self, columns: Sequence[str], key: str) -> None:
        """Raises:
        ConfigError: nothing of that name is known of any sound; the message says what is.
        """
        have = tuple(dict.fromkeys(column for known in self.known for column in known))
        for column in columns:
            if column not in have:
                what = ", ".join(have) or "nothing"
                hint = suggest(column, have)
                raise ConfigError(f"data.{key}={column}: not known of any sound; known is {what}{hint}")

    def keep(self, only: Mapping[str, Any]) -> None:
        """Leave out the sounds that are not wanted."""
        self.check(list(only), "only")
        wanted = [matches(known, only) for known in self.known]
        if not any(wanted):
            raise DataError(f"{self.root}: no sound has {dict(only)}{self._values(only)}; see data.only")
        self.names = [name for name, keep in zip(self.names, wanted, strict=True) if keep]
        self.known = [known for known, keep in zip(self.known, wanted, strict=True) if keep]

    def _values(self, only: Mapping[str, Any]) -> str:
        parts = [
            f"{column} is one of {shorten(sorted({known.get(column, '') for known in self.known} - {''}), 12)}"
            for column in only
        ]
        return f"; {', '.join(parts)}" if parts else ""

    def judge(self, library: Library, most: float, level: Level) -> NDArray[np.int64]:
        """The rows that are sound; notices for the rest.

        Raises:
            DataError: too many are bad, or nothing is left.
        """
        count = len(self.names)
        problems = [problem for problem in library.problems if problem is not None]
        if problems:
            shown = "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")
            text = f"{self.root}: {len(problems)} of {count} sounds are bad"
            if len(problems) > most * count or len(problems) == count:
                raise DataError(f"{text} (data.max_bad_share={most}): {shown}")
            self.notices.append(f"{text} and left out: {shown}")
        sound = [row for row, problem in enumerate(library.problems) if problem is None]
        silent = [row for row in sound if _loudest(library, row) < level.threshold]
        left = [row for row in sound if library.facts(row).left]
        if left:
            names = shorten([self.names[row] for row in left])
            self.notices.append(
                f"{self.root}: the channels of {len(left)} of {count} sounds cancel, their left one is taken: {names}"
            )
        if not silent:
            return np.array(sound)
        names = shorten([self.names[row] for row in silent])
        text = f"{self.root}: {len(silent)} of {count} sounds are silent (below data.silence={level.silence:g} dB)"
        if len(silent) == len(sound):
            raise DataError(f"{text}, and no other is left: {names}")
        self.notices.append(f"{text} and left out: {names}")
        return np.array([row for row in sound if row not in set(silent)])

    def share(self, good: NDArray[np.int64], share: float, group: str | None) -> NDArray[np.bool_]:
        """Which of the good rows training never sees: a share, with equal values of ``group`` on one side."""
        if group is not None:
            self.check([group], "group")
        keys = [(self.known[row].get(group, "") if group else "") or self.names[row] for row in good]
        return held_out_by_key(keys, share)

    def chosen(self, good: NDArray[np.int64], where: Mapping[str, Any] | str) -> NDArray[np.bool_]:
        """The same by what is known of each, or by a regular expression on its name."""
        if isinstance(where, str):
            pattern = compile_pattern(where, "heldout_where")
            held = [pattern.search(self.names[row]) is not None for row in good]
        else:
            self.check(list(where), "heldout_where")
            held = [matches(self.known[row], where) for row in good]
        return self._some(held, good, f"data.heldout_where={where}")

    def listed(self, good: NDArray[np.int64], path: Path) -> NDArray[np.bool_]:
        """The same by a text file of names, with or without the folder that all share."""
        try:
            names = {line.strip().removeprefix("./") for line in path.read_text(encoding="utf-8-sig").splitlines()}
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"data.heldout_list={path}: cannot be read ({error})") from error
        shared = common_folder(self.files.names)
        held = [self.names[row] in names or self.names[row].removeprefix(shared) in names for row in good]
        return self._some(held, good, f"data.heldout_list={path}")

    def _some(self, held: Sequence[bool], good: NDArray[np.int64], setting: str) -> NDArray[np.bool_]:
        if all(held) or not any(held):
            which = "every sound" if all(held) else "no sound"
            raise DataError(f"{setting}: holds out {which}; the first one is {self.names[good[0]]!r}")
        return np.array(held)

    def usual_classes(self) -> tuple[str, ...]:
        """What becomes a class where the person names nothing."""
        have = {column for known in self.known for column, text in known.items() if text}
        usual = tuple(column for column in ("label", "speaker") if column in have)
        return usual or ((self.first_column,) if self.first_column else ())

    def name_orphans(
        self, classes: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[Any]], train: NDArray[np.int64]
    ) -> None:
        """A notice of each class that no sound to train on has."""
        for name, names in classes.items():
            seen = {columns[name][row] for row in train}
            missing = [text for place, text in enumerate(names) if place not in seen]
            if missing:
                self.notices.append(f"{self.root}: no sound to train on has {name} {shorten(missing)}")

    def windows(
        self, library: Library, rows: NDArray[np.int64], length: int, block: int, level: Level, wander: bool
    ) -> NDArray[np.int64]:
        """``[N, 2]``: the clips of some files, as the file and the sample at which each starts."""
        found = []
        silent = total = 0
        for row in rows.tolist():
            facts = library.facts(row)
            loud = None if facts.peaks is None else facts.peaks >= level.threshold
            if not wander:
                found.append((row, 0 if loud is None else int(np.argmax(loud)) * block))
                continue
            starts = range(0, max(facts.frames - length, 0) + 1, length)
            heard = [
                start for start in starts if loud is None or loud[start // block : -(-(start + length) // block)].any()
            ]
            total += len(starts)
            silent += len(starts) - len(heard)
            # Its sound may lie in what is left after the last whole clip.
            found += [(row, start) for start in heard or (max(facts.frames - length, 0),)]
        if silent:
            self.notices.append(f"{self.root}: {silent} of {total} stretches of silence are left out")
        return np.array(found, dtype=np.int64).reshape(-1, 2)


def _loudest(library: Library, row: int) -> float:
    peaks = library.facts(row).peaks
    return np.inf if peaks is None else float(peaks.max(initial=0.0))
