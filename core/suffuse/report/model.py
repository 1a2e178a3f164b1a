"""What a report says, as plain records, apart from how it looks.

Whoever has a run at hand fills these in; `suffuse.report.render` turns them into a page. Every part but the
title may be empty, and an empty part is left out of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from suffuse.bias import Shift
from suffuse.data import Score

__all__ = ["Fragment", "Frame", "Group", "Neighbour", "Report", "Strip"]

Fragment: TypeAlias = str
"""HTML that shows or plays one sample, as `suffuse.data.Decoder.html` returns it.

It enters the page unescaped: the decoder escapes text from outside, and gives a picture its ``alt``. Everything
it needs is inside it (``data:`` addresses); the page's content policy blocks scripts and loading from elsewhere.
A picture is shown 64 to 144 px wide with sharp pixels; a larger one asks for ``style="image-rendering: auto"``.
"""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Samples that belong together, such as those of one class.

    Args:
        label: what they have in common.
        fragments: the samples.
    """

    label: str
    fragments: Sequence[Fragment]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One moment of a sample's making.

    Args:
        caption: which moment, such as the noise level.
        fragment: the sample at that moment.
    """

    caption: str
    fragment: Fragment


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One sample on its way from noise to data.

    Args:
        label: which sample.
        frames: moments in order, noise first.
    """

    label: str
    frames: Sequence[Frame]


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A sample beside the training items that are closest to it, so that a copy is seen.

    Args:
        fragment: the generated sample.
        nearest: training items, the closest first.
        distance: from the sample to the closest, in the units of whoever measured it.
    """

    fragment: Fragment
    nearest: Sequence[Fragment]
    distance: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the page of a run shows.

    Args:
        title: of the page, such as ``"image · digits"``.
        subtitle: one sentence below it.
        facts: what was run, in reading order: data, parameters, steps, wall time, device, versions.
        curves: values by optimiser step, ``(step, value)`` in rising order of step. ``"training X"`` and
            ``"validation X"`` share one figure; values that are not finite are left out and counted.
        groups: samples, sorted by what was asked for.
        strips: samples on their way from noise to data.
        neighbours: samples beside their nearest training items.
        scores: figures of an evaluation; where there are none, the page says which command makes them.
        shifts: how attributes of samples differ from those of real data.
        settings: of each evaluation so far, in order: what it sampled by, and of each attribute the shift of its mean,
            or the total variation of its classes, half the sum of their absolute shifts.
        config: the resolved configuration as YAML.
        command: what was typed to make the run.
        notes: limits and provenance, one sentence each.
        run: the run directory as a user would type it, for the commands that the page suggests.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    groups: Sequence[Group] = ()
    strips: Sequence[Strip] = ()
    neighbours: Sequence[Neighbour] = ()
    scores: Sequence[Score] = ()
    shifts: Sequence[Shift] = ()
    settings: Sequence[tuple[str, Mapping[str, float]]] = ()
    config: str = ""
    command: str = ""
    notes: Sequence[str] = ()
    run: str = "DIR"
