"""From noise to data: grids, solver plans, kernels, and the one executor."""

from suffuse.sampling.executor import sample
from suffuse.sampling.grids import karras, uniform, uniform_lambda
from suffuse.sampling.hooks import Hook
from suffuse.sampling.plan import Plan, Stage
from suffuse.sampling.seeds import Seeds
from suffuse.sampling.solvers import DDIM, DPMSolver2M, Heun, Solver

__all__ = [
    "DDIM",
    "DPMSolver2M",
    "Heun",
    "Hook",
    "Plan",
    "Seeds",
    "Solver",
    "Stage",
    "karras",
    "sample",
    "uniform",
    "uniform_lambda",
]
