"""How each kind of field is corrupted, and all fields of a state together."""

from suffuse.processes.gaussian import Gaussian
from suffuse.processes.joint import JointProcess
from suffuse.processes.process import Level, Process

__all__ = ["Gaussian", "JointProcess", "Level", "Process"]
