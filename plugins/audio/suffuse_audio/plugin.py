"""What the audio plugin brings. Light on purpose: nothing here is imported until a configuration names it."""

from __future__ import annotations

from suffuse import hookimpl
from suffuse.plugins import Components, Trial

__all__ = ["suffuse_components", "suffuse_trials"]


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


@hookimpl
def suffuse_trials() -> list[Trial]:
    """Each backbone on a few short sounds."""
    short = [
        "modality=audio", "data.clips=32", "data.heldout=16", "data.seconds=0.128", "metric.epochs=1",
    ]  # fmt: skip
    phases = "phases are found again by Griffin-Lim, which is never exact"
    return [
        Trial(name="unet2d", words=[*short, "backbone=unet2d_tiny"]),
        Trial(
            name="dit1d",
            words=[*short, "decoder=mel", "backbone=dit1d", "backbone.width=32", "backbone.depth=2"],
            expected=dict.fromkeys(("decoding_undoes_encoding", "files_can_be_read_back"), phases),
        ),
        Trial(
            name="unet1d",
            words=[
                *short,
                "decoder=waveform",
                "backbone=unet1d",
                "backbone.widths=[16,32]",
                "backbone.blocks=[1,1]",
                "backbone.strides=[4,4]",
                "backbone.condition_dim=32",
            ],
        ),
    ]
