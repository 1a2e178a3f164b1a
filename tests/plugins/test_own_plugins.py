"""Our own plugins pass what any plugin has to pass, through the same door."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from suffuse.testing import parametrize_with_checks

pytest.importorskip("rdkit")
pytest.importorskip("torchaudio")
pytest.importorskip("pymatgen")


@parametrize_with_checks("image")
def test_image(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("audio")
def test_audio(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("molecule")
def test_molecule(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("crystal")
def test_crystal(check: Callable[[], None]) -> None:
    check()
