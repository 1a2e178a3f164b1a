"""The core's own components, registered as any plugin registers its own."""

from __future__ import annotations

from suffuse.plugins.hookspecs import Components, hookimpl

__all__ = ["suffuse_components"]


@hookimpl
def suffuse_components() -> Components:
    """Everything that serves every modality."""
    return {
        "backbone": {"transformer": "suffuse.backbones:Transformer"},
        "schedule": {
            "vp": "suffuse.schedules:LinearBetaVP",
            "cosine": "suffuse.schedules:Cosine",
            "edm": "suffuse.schedules:EDM",
            "flow": "suffuse.schedules:RectifiedFlow",
            "sigmoid": "suffuse.schedules:Sigmoid",
            "squared_cosine": "suffuse.schedules:SquaredCosine",
        },
        "process": {
            "gaussian": "suffuse.processes.gaussian:gaussian",
            "discrete": "suffuse.processes.discrete:discrete",
            "wrapped": "suffuse.processes.wrapped:wrapped",
        },
        "warp": {
            "identity": "suffuse.warps:Identity",
            "power": "suffuse.warps:Power",
            "shift": "suffuse.warps:Shift",
            "frozen": "suffuse.warps:Frozen",
        },
        "coupling": {"optimal_transport": "suffuse.training.couplings:OptimalTransport"},
        "condition": {
            "ClassLabel": "suffuse.conditions:ClassLabel",
            "Scalar": "suffuse.conditions:Scalar",
            "Vector": "suffuse.conditions:Vector",
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
            "euler": "suffuse.sampling.solvers:Euler",
            "heun": "suffuse.sampling.solvers:Heun",
            "dpmpp_2s": "suffuse.sampling.solvers:DPMSolver2S",
            "dpmpp_2m": "suffuse.sampling.solvers:DPMSolver2M",
            "dpmpp_3m": "suffuse.sampling.solvers:DPMSolver3M",
        },
        "categorical": {
            "ancestral": "suffuse.sampling.tokens:Ancestral",
            "confidence": "suffuse.sampling.tokens:Confidence",
        },
        "guidance": {
            "classifier_free": "suffuse.guidance.classifier_free:ClassifierFree",
            "autoguidance": "suffuse.guidance.autoguidance:autoguidance",
            "property": "suffuse.guidance.property:property_guidance",
        },
        "predictor": {
            "average": "suffuse.guidance.predictors:Average",
        },
        "callback": {
            "tensorboard": "suffuse.training.callbacks:TensorBoard",
        },
    }
