"""The embedded data: 1,797 real handwritten digits that come inside scikit-learn; nothing is fetched."""

from __future__ import annotations

import numpy as np
import torch

from suffuse.conditions import ClassLabel
from suffuse.data import DataSource
from suffuse.errors import PluginError
from suffuse.splits import check_share, held_out_by_class
from suffuse_image.data.splits import ImageSplit

__all__ = ["Digits"]


class Digits(DataSource):
    """Grey images of 8x8 pixels with the condition ``label``, "0" to "9".

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part),
        as
    `sklearn.datasets.load_digits`. Their 17 levels v become ``round(v * 255 / 16)``; ``round(x * 16 / 255)``
    gives them back exactly.

    Args:
        heldout: the share of each class that training never sees, evenly spaced within the class.
    """

    def __init__(self, *, heldout: float = 0.2) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise PluginError('data=digits needs scikit-learn: pip install "suffuse[image]"') from error
        held = check_share(heldout)
        flat, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(np.rint(flat * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        where = held_out_by_class(labels, held)
        conditions = {"label": ClassLabel(tuple("0123456789"))}
        columns = {"label": labels.tolist()}
        self.train, self.heldout = (
            ImageSplit(images=images, rows=np.flatnonzero(rows), shape=(8, 8), conditions=conditions, columns=columns)
            for rows in (~where, where)
        )
