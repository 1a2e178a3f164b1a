"""The data: the manual that every Python brings with it, as lines of plain letters."""

import re
import textwrap
from pydoc_data.topics import topics

from suffuse import InMemory

LETTERS = " abcdefghijklmnopqrstuvwxyz.,()'-"


class Manual(InMemory):
    """Lines of up to ``width`` small letters, a share ``heldout`` of them held out; no line is there twice."""

    def __init__(self, *, width: int = 40, heldout: float = 0.1) -> None:
        text = " ".join(topics[name] for name in sorted(topics)).lower()
        plain = re.sub(f"[^{re.escape(LETTERS)}]|--+", " ", text)
        lines = textwrap.wrap(" ".join(plain.split()), width)
        super().__init__(list(dict.fromkeys(lines)), heldout=heldout, size=len)
