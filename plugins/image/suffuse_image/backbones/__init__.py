"""Networks for images: a residual U-Net and a transformer on patches."""

from suffuse_image.backbones.dit import DiT
from suffuse_image.backbones.unet import UNet

__all__ = ["DiT", "UNet"]
