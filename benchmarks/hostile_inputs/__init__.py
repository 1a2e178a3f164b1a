"""The corpus of `benchmarks.hostile`: how each bad input is written, and the entry point that meets it."""

from benchmarks.hostile_inputs.case import CANARY, Case
from benchmarks.hostile_inputs.corpus import cases, sound_run, warm

__all__ = ["CANARY", "Case", "cases", "sound_run", "warm"]
