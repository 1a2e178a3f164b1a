"""How good generated sounds are: as asked, as sets beside real ones, in faults of level, and by foreign ears."""

from suffuse_audio.metrics.audio import AudioMetrics
from suffuse_audio.metrics.sets import kernel_distance, principal_components
from suffuse_audio.metrics.voices import Voiceprints, nearest
from suffuse_audio.metrics.words import Recogniser

__all__ = [
    "AudioMetrics",
    "Recogniser",
    "Voiceprints",
    "kernel_distance",
    "nearest",
    "principal_components",
]
