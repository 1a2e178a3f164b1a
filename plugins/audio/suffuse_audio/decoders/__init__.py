"""Between sounds and states: compressed spectrograms, log-mel spectrograms, and waveforms as they are."""

from suffuse_audio.decoders.mel import Mel
from suffuse_audio.decoders.stft import Stft
from suffuse_audio.decoders.waveform import Waveform

__all__ = ["Mel", "Stft", "Waveform"]
