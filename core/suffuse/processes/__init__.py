"""How each kind of field is corrupted, and all fields of a state together."""

from suffuse.processes.discrete import Discrete
from suffuse.processes.gaussian import Gaussian
from suffuse.processes.joint import JointProcess, Noise
from suffuse.processes.process import Level, Process
from suffuse.processes.wrapped import WrappedGaussian

__all__ = ["Discrete", "Gaussian", "JointProcess", "Level", "Noise", "Process", "WrappedGaussian"]
