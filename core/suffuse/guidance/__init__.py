"""Wrappers around a denoiser that change what it believes; every solver works with every one of them."""

from suffuse.guidance.autoguidance import Autoguidance
from suffuse.guidance.classifier_free import ClassifierFree
from suffuse.guidance.graphs import Captured
from suffuse.guidance.posterior_sampling import PosteriorSampling
from suffuse.guidance.property import Predictor, PropertyGuidance
from suffuse.guidance.windows import Windows
from suffuse.guidance.wrapper import Guidable, Wrapper

__all__ = [
    "Autoguidance",
    "Captured",
    "ClassifierFree",
    "Guidable",
    "PosteriorSampling",
    "Predictor",
    "PropertyGuidance",
    "Windows",
    "Wrapper",
]
