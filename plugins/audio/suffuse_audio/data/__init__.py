"""Where sounds come from: the embedded synthesiser, folders and archives, named datasets, spoken digits."""

from suffuse_audio.data.folder import Folder
from suffuse_audio.data.named import Named
from suffuse_audio.data.sounds import Sounds
from suffuse_audio.data.splits import AudioSplit
from suffuse_audio.data.spoken import SpokenDigits

__all__ = ["AudioSplit", "Folder", "Named", "Sounds", "SpokenDigits"]
