"""The plugins that the documentation speaks of are installed while its pages are tested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.distributions import PAGE, importable, unpack

from suffuse.scaffold import create

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="package", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    made, site = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("site")
    for name, kind in PAGE.items():
        unpack(create(name, kind, made), site)
    for name in ("points", "text"):
        unpack(EXAMPLES / name, site)
    with importable(site):
        yield
