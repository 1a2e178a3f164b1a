"""Where images come from: embedded digits, MNIST-format files, folders and archives, the Hugging Face hub."""

from suffuse_image.data.digits import Digits
from suffuse_image.data.folder import Folder
from suffuse_image.data.hub import Hub
from suffuse_image.data.idx import Idx
from suffuse_image.data.splits import ImageSplit

__all__ = ["Digits", "Folder", "Hub", "Idx", "ImageSplit"]
