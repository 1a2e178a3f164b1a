"""From data to a trained denoiser: objective, clock draws, averaging, checkpoints, and the loop."""

from suffuse.settings import TrainerSettings
from suffuse.training.checkpoints import Checkpoint, Checkpoints
from suffuse.training.trainer import Trainer

__all__ = ["Checkpoint", "Checkpoints", "Trainer", "TrainerSettings"]
