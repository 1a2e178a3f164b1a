"""torchaudio, or one line that says why it cannot be had.

Its wheel is compiled against one build of torch but does not say so: beside another build, such as a CPU-only torch
from another index, the import ends in the loader's message about a shared library.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

from suffuse.errors import PluginError

__all__ = ["load_torchaudio"]


def load_torchaudio(needed_by: str) -> ModuleType:
    """The module ``torchaudio``.

    Args:
        needed_by: for the message, what asks for it.

    Raises:
        PluginError: it is missing, or does not load beside the installed torch.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        if error.name != "torchaudio":
            raise PluginError(_mismatch(needed_by, error)) from error
        raise PluginError(f'{needed_by} needs torchaudio: pip install "suffuse[audio]"') from error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise PluginError(_mismatch(needed_by, error)) from error


def _mismatch(needed_by: str, error: Exception) -> str:
    torch, torchaudio = (metadata.version(name).partition("+")[0] for name in ("torch", "torchaudio"))
    reason = " ".join(str(error).split())
    return (
        f"{needed_by} needs torchaudio, but torchaudio {torchaudio} does not load beside torch {torch} ({reason}): "
        f'install both from the same index, pip install --force-reinstall "torch=={torch}" "torchaudio=={torchaudio}"'
    )
