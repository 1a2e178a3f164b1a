"""The page of drawn molecules as a person gets it: in Chromium, on a phone and on a screen, sorted and filtered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rdkit")

from chromium import CHROMIUM, Browser
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from suffuse_molecule.page import render_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

SMILES = ("c1ccccc1O", "CCO", "CC(=O)Cl", "NC(C)C(=O)O", "CCCCCC")
VISIBLE = "[...document.querySelectorAll('#grid li')].filter(card => !card.hidden).map(card => card.dataset.text)"


def rows() -> list[dict[str, Any]]:
    found = []
    for place, text in enumerate(SMILES):
        mol = Chem.MolFromSmiles(text)
        found.append(
            {
                "sample": place,
                "smiles": text,
                "scaffold": "c1ccccc1" if place == 0 else None,
                "qed": QED.qed(mol),
                "logp": Crippen.MolLogP(mol),
                "sa": 2.0,
                "mw": 46.0,
                "rings": mol.GetRingInfo().NumRings(),
                "tanimoto": None,
                "novel": place != 1,
                "passes": place != 2,
                "alerts": ["brenk: acid_halide"] if place == 2 else [],
            }
        )
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    summary = {"draws": 9, "valid": 7, "distinct": 5, "new": 4, "passing": 4, "reasons": {"valence": 2}, "asked": {}}
    training = {"logp": [0.0, 1.0, 2.0], "qed": [0.3, 0.5]}
    drawn = {name: [row[name] for row in rows()] for name in training}
    scaffolds = Counter(row["scaffold"] for row in rows() if row["scaffold"])
    text = render_page(rows(), summary, drawn, training, scaffolds, {"run": "r" * 200, "checkpoint": "abc"})
    (folder / "molecules.html").write_text(text, encoding="utf-8")
    opened = Browser(folder / "profile")
    opened.show_as(390, "light")
    opened.open(folder / "molecules.html")
    yield opened
    opened.close()


def put(browser: Browser, name: str, value: str) -> None:
    kind = "checked" if value in ("true", "false") else "value"
    written = value if kind == "checked" else json.dumps(value)
    browser.run(f"document.getElementById('{name}').{kind} = {written}")
    browser.run(f"document.getElementById('{name}').dispatchEvent(new Event('input'))")


@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_and_complains_of_nothing(browser: Browser, width: int) -> None:
    browser.show_as(width, "light")
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    assert browser.run(VISIBLE + ".length") == 5
    wrong = ("Runtime.exceptionThrown", "Log.entryAdded")
    assert [event for event in browser.events if event["method"] in wrong] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_controls_have_their_labels_beside_them_in_one_line(browser: Browser) -> None:
    """On a phone, too, where what sticks to the top would cover a third of the grid."""
    browser.show_as(390, "light")
    controls = "[...document.querySelectorAll('#controls input, #controls select')]"
    assert browser.run(f"{controls}.map(each => each.labels.length)") == [1] * 8
    boxes = "[...document.querySelectorAll('#controls label')].map(each => each.getBoundingClientRect())"
    assert max(browser.run(f"{boxes}.map(box => box.height)")) < 48
    assert max(browser.run(f"{boxes}.map(box => box.right)")) <= 390
    assert browser.run("getComputedStyle(document.getElementById('controls')).position") == "static"
    browser.show_as(1400, "light")
    assert browser.run("getComputedStyle(document.getElementById('controls')).position") == "sticky"


def test_a_number_that_cards_do_not_show_is_shown_when_they_are_sorted_by_it(browser: Browser) -> None:
    first = "document.querySelector('#grid li').innerText"
    put(browser, "sort", "rings")
    assert ", rings 0" in browser.run(first)
    put(browser, "sort", "sample")
    assert "rings" not in browser.run(first)


def test_it_is_sorted(browser: Browser) -> None:
    put(browser, "sort", "logp")
    rising = sorted(SMILES, key=lambda text: Crippen.MolLogP(Chem.MolFromSmiles(text)))
    assert [text.split()[0] for text in browser.run(VISIBLE)] == rising
    put(browser, "falling", "true")
    assert [text.split()[0] for text in browser.run(VISIBLE)] == rising[::-1]
    put(browser, "falling", "false")


def test_it_is_filtered(browser: Browser) -> None:
    put(browser, "passes", "true")
    put(browser, "novel", "true")
    assert sorted(text.split()[0] for text in browser.run(VISIBLE)) == sorted(SMILES[i] for i in (0, 3, 4))
    assert browser.run("document.getElementById('count').textContent") == "3 of 5"
    put(browser, "column", "logp")
    put(browser, "least", "1.5")
    assert [text.split()[0] for text in browser.run(VISIBLE)] == ["CCCCCC"]
    for name, value in (("passes", "false"), ("novel", "false"), ("least", ""), ("search", "HALIDE")):
        put(browser, name, value)
    assert [text.split()[0] for text in browser.run(VISIBLE)] == ["CC(=O)Cl"]
