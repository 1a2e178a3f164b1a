"""Wrappers around a denoiser that change what it believes; every solver works with every one of them."""

from suffuse.guidance.classifier_free import ClassifierFree

__all__ = ["ClassifierFree"]
