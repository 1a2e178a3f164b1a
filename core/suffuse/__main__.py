"""``python -m suffuse`` is the command ``suffuse``."""

from __future__ import annotations

import sys

from suffuse.cli import main

if __name__ == "__main__":
    sys.exit(main())
