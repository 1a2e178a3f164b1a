"""A made clip put into the gap of a given one: what is known stays as it is, and the seams do not click."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suffuse_audio.clips import Clip

__all__ = ["join"]

_FADE = 0.005
"""Seconds from a seam in which the made sound is led over to the known one."""


def join(made: Clip, given: Clip, marks: Tensor, *, limited: bool = True) -> Clip:
    """The given clip with the made one where ``marks`` ``[T]`` of bool are true.

    Known samples are not touched, so all of the fade lies in the gap. A made clip goes on beyond the gap, where it
    should be the given one; by how much it misses that, mirrored at the seam and faded out, is added to it.

    Args:
        made, given: of the same shape.
        limited: whether the made part is scaled down to full scale (or to the known part's peak, where that is higher),
            of which the clip then tells; otherwise the whole clip would have to be, with the known part.
    """
    sound, known = made.samples, given.samples
    ceiling = max(1.0, float(known[:, ~marks].abs().max()))
    peak = float(sound[:, marks].abs().max())
    limiter = ""
    if limited and peak > ceiling:
        sound = sound * (ceiling / peak)
        reduction = 20 * math.log10(peak / ceiling)
        limiter = f"the part that was made was scaled by -{reduction:.2f} dB, as its peak was {peak:.4g}"
    joined = torch.where(marks, sound, known)
    missed = known - sound
    most = max(1, round(_FADE * given.rate))
    edges = [0, *((marks[1:] != marks[:-1]).nonzero().flatten() + 1).tolist(), len(marks)]
    for place in range(1, len(edges) - 1):
        before, seam, after = edges[place - 1 : place + 2]
        width = min(most, seam - before, after - seam)
        fade = (1 + torch.cos(math.pi * torch.arange(width) / width)) / 2
        if marks[seam]:
            joined[:, seam : seam + width] += fade * missed[:, seam - width : seam].flip(-1)
        else:
            joined[:, seam - width : seam] += fade.flip(-1) * missed[:, seam : seam + width].flip(-1)
    if limited:
        joined = torch.where(marks, joined.clamp(-ceiling, ceiling), joined)
    return Clip(joined, given.rate, limiter=limiter)
