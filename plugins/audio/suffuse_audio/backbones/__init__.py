"""Networks for sounds: on time and frequency, on frames, and on samples."""

from suffuse_audio.backbones.dit1d import DiT1D
from suffuse_audio.backbones.unet1d import UNet1D
from suffuse_audio.backbones.unet2d import UNet2D

__all__ = ["DiT1D", "UNet1D", "UNet2D"]
