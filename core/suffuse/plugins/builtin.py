"""The core's own components, registered as any plugin registers its own."""

from __future__ import annotations

from suffuse.plugins.hookspecs import Components, hookimpl

__all__ = ["suffuse_components"]


@hookimpl
def suffuse_components() -> Components:
    """Everything that serves every modality."""
    return {
        "schedule": {
            "vp": "suffuse.schedules:LinearBetaVP",
            "cosine": "suffuse.schedules:Cosine",
            "edm": "suffuse.schedules:EDM",
            "flow": "suffuse.schedules:RectifiedFlow",
        },
        "clock": {
            "uniform": "suffuse.training.clock:Uniform",
            "lognormal": "suffuse.training.clock:LogNormal",
        },
        "weighting": {
            "edm": "suffuse.training.weightings:edm",
            "min_snr": "suffuse.training.weightings:min_snr",
            "uniform": "suffuse.training.weightings:uniform",
        },
        "grid": {
            "uniform": "suffuse.sampling.grids:uniform",
            "cosine": "suffuse.sampling.grids:cosine",
            "karras": "suffuse.sampling.grids:karras",
            "uniform_lambda": "suffuse.sampling.grids:uniform_lambda",
            "explicit": "suffuse.sampling.grids:explicit",
        },
        "solver": {
            "ddim": "suffuse.sampling.solvers:DDIM",
            "heun": "suffuse.sampling.solvers:Heun",
            "dpmpp_2m": "suffuse.sampling.solvers:DPMSolver2M",
        },
        "guidance": {
            "classifier_free": "suffuse.guidance.classifier_free:ClassifierFree",
        },
        "callback": {
            "tensorboard": "suffuse.training.callbacks:TensorBoard",
        },
    }
