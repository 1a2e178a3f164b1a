"""The page that a run leaves behind: one HTML file that tells what was run and shows what came out."""

from __future__ import annotations

from suffuse.report.model import Fragment, Frame, Group, Neighbour, Report, Strip
from suffuse.report.render import render

__all__ = ["Fragment", "Frame", "Group", "Neighbour", "Report", "Strip", "render"]
