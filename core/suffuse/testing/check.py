"""What a check is: a function of a bench that says nothing, or what is wrong and how to mend it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suffuse.testing.bench import Bench

__all__ = ["Check", "Failed", "Inapplicable", "ensure"]


class Failed(AssertionError):  # noqa: N818 - what a check does, not what went wrong in it
    """A check found something wrong."""


class Inapplicable(Exception):  # noqa: N818 - it is no error
    """There is nothing for a check to look at, such as padding where all samples have one size."""


@dataclass(frozen=True)
class Check:
    """One check of the kit.

    Args:
        run: raises `Failed`, or anything that the plugin itself raises.
        kinds: of components; the check is for plugins that bring one of them, or for all plugins where there are none.
        once: whether it looks at the plugin as a whole, so that one trial is enough.
    """

    run: Callable[[Bench], None]
    kinds: frozenset[str] = frozenset()
    once: bool = False

    @property
    def name(self) -> str:
        """That of its function."""
        return self.run.__name__

    @property
    def about(self) -> str:
        """What holds where it passes, in a line."""
        return inspect.cleandoc(self.run.__doc__ or "").partition("\n")[0]


def ensure(holds: bool, wrong: str) -> None:
    """
    Raises:
        Failed: it does not hold; ``wrong`` says what is the matter.
    """
    if not holds:
        raise Failed(wrong)
