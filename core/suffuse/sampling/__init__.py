"""From noise to data: grids, solver plans, kernels, and the one executor."""

from suffuse.sampling.executor import Rules, invert, plans, sample
from suffuse.sampling.grids import Resample, karras, uniform, uniform_lambda
from suffuse.sampling.hooks import Hook
from suffuse.sampling.plan import Plan, Stage
from suffuse.sampling.seeds import Seeds
from suffuse.sampling.solvers import DDIM, DPMSolver2M, DPMSolver2S, DPMSolver3M, Euler, Heun, Solver
from suffuse.sampling.tokens import Ancestral, Confidence, TokenSolver

__all__ = [
    "DDIM",
    "Ancestral",
    "Confidence",
    "DPMSolver2M",
    "DPMSolver2S",
    "DPMSolver3M",
    "Euler",
    "Heun",
    "Hook",
    "Plan",
    "Resample",
    "Rules",
    "Seeds",
    "Solver",
    "Stage",
    "TokenSolver",
    "invert",
    "karras",
    "plans",
    "sample",
    "uniform",
    "uniform_lambda",
]
