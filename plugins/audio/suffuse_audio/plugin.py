"""What the audio plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components

__all__ = ["suffuse_components"]


@hookimpl
def suffuse_components() -> Components:
    """Data sources, backbones, decoders, conditions and the metrics of sounds."""
    return {
        "data": {
            "sounds": "suffuse_audio.data.sounds:Sounds",
            "folder": "suffuse_audio.data.folder:Folder",
            "torchaudio": "suffuse_audio.data.named:Named",
            "spoken_digits": "suffuse_audio.data.spoken:SpokenDigits",
        },
        "backbone": {
            "unet2d": "suffuse_audio.backbones.unet2d:UNet2D",
            "dit1d": "suffuse_audio.backbones.dit1d:DiT1D",
            "unet1d": "suffuse_audio.backbones.unet1d:UNet1D",
        },
        "decoder": {
            "stft": "suffuse_audio.decoders.stft:Stft",
            "mel": "suffuse_audio.decoders.mel:Mel",
            "waveform": "suffuse_audio.decoders.waveform:Waveform",
        },
        "condition": {"Reference": "suffuse_audio.data.reference:Reference"},
        "metric": {"audio": "suffuse_audio.metrics:AudioMetrics"},
    }
