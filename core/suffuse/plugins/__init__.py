"""Plugins: what they may tell the core, which are installed, and the components that they bring."""

from suffuse.plugins.discovery import Found
from suffuse.plugins.hookspecs import API, Components, Trial, hookimpl
from suffuse.plugins.kinds import KINDS
from suffuse.plugins.registry import CORE, Registry

__all__ = ["API", "CORE", "KINDS", "Components", "Found", "Registry", "Trial", "hookimpl"]
