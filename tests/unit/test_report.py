"""The report shows what it is given: text stays text, odd numbers break nothing, the page stands alone."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from suffuse.bias import Shift
from suffuse.commands.report import _variations
from suffuse.data import Score
from suffuse.report import Frame, Group, Neighbour, Report, Strip, render
from suffuse.report.curves import panels, smooth, svg, thin, wants_log
from suffuse.report.render import significant

PICTURE = '<img src="data:image/png;base64,AAAA" alt="seven">'
HOSTILE = "<script>alert('x')</script>&\"' onerror=\"y"


class Outline(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def full(word: str = "word", fragment: str = PICTURE) -> Report:
    """A report with every part filled in, all of whose text is ``word``."""
    score = Score(name=word, value=0.5, real=0.6, better=word, about=word)
    return Report(
        title=word,
        subtitle=word,
        facts={word: word},
        curves={
            f"{word} rate": [(0, 1.0), (1, 0.5)],
            f"training {word}": [(0, 2.0)],
            f"validation {word}": [(0, 2.0)],
        },
        groups=[Group(label=word, fragments=[fragment])],
        strips=[Strip(label=word, frames=[Frame(caption=word, fragment=fragment)])],
        neighbours=[Neighbour(fragment=fragment, nearest=[fragment, fragment], distance=1.5)],
        scores=[score],
        config=word,
        command=word,
        notes=[word],
        run=word,
    )


def test_all_text_is_escaped_and_still_readable() -> None:
    page = Outline(render(full(HOSTILE)))
    assert "script" not in page.tags()
    assert not any("onerror" in attributes for _, attributes in page.elements)
    others = 14  # title 2, subtitle, fact 2, group, strip, frame, score 3, config, command, note
    in_curves = 5  # three names, two titles
    assert page.text.count(HOSTILE) == others + in_curves


def test_a_hostile_run_directory_is_escaped_and_quoted_for_the_shell() -> None:
    page = Outline(render(Report(title="t", run="a b<script>")))
    assert "suffuse evaluate run='a b<script>'" in page.text
    assert "script" not in page.tags()


def test_fragments_enter_as_html() -> None:
    images = [attributes for tag, attributes in Outline(render(full())).elements if tag == "img"]
    assert len(images) == 5
    assert all(image["alt"] == "seven" for image in images)


def test_the_page_stands_alone() -> None:
    page = render(full())
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r"url\(([^)]*)\)", page)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    page = Outline(render(full()))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = [a["href"] for tag, a in page.elements if tag == "a"]
    assert len(targets) == 8
    assert {str(target).removeprefix("#") for target in targets} <= set(ids)


def test_empty_parts_are_left_out_and_scores_say_how() -> None:
    groups, strips = [Group(label="none", fragments=[])], [Strip(label="none", frames=[])]
    page = Outline(render(Report(title="bare", groups=groups, strips=strips, curves={"loss": []})))
    assert [i for i in page.ids() if not str(i).endswith("-title")] == ["scores"]
    assert "suffuse evaluate run=DIR" in page.text
    assert not page.tags() & {"figure", "table", "details", "dl"}


def test_scores_show_the_value_beside_the_real_one() -> None:
    score = Score(name="distance", value=0.01234, real=0.5, better="lower", about="how")
    page = Outline(render(Report(title="t", scores=[score])))
    cells = [part.strip() for part in page.text.splitlines() if part.strip()]
    row = cells.index("distance")
    assert cells[row : row + 5] == ["distance", "0.0123", "0.500", "↓ lower", "how"]
    assert [a.get("scope") for tag, a in page.elements if tag == "th"] == ["col"] * 4 + ["row"]
    assert "suffuse evaluate" not in page.text


def evaluated(name: str, scale: float | None, three: float, size: float) -> dict[str, Any]:
    """A line of ``evaluations.jsonl``, as far as shifts are concerned."""
    shares = {"3": (three, 0.5), "8": (1 - three, 0.5)}
    shifts = [
        Shift(attribute="label", of=of, samples=s, real=r, low=s - r, high=s - r) for of, (s, r) in shares.items()
    ]
    shifts.append(Shift(attribute="size", of="mean", samples=size, real=10.0, low=-1.0, high=1.0))
    guidance = None if scale is None else {"scale": scale}
    return {"sampler": {"name": name, "steps": 20}, "guidance": guidance, "shifts": [asdict(each) for each in shifts]}


def test_shifts_are_compared_by_sampler_steps_and_guidance() -> None:
    """Classes by total variation, numbers by the shift of the mean: one may be less, the other is never."""
    lines = [evaluated("ddim", None, 0.5, 10.0), evaluated("heun", 4.0, 0.75, 7.0)]
    found = [_variations(line) for line in lines]
    assert found == [
        ("ddim, 20 steps, guidance 1", {"label": 0.0, "size: mean": 0.0}),
        ("heun, 20 steps, guidance 4", {"label": 0.25, "size: mean": -3.0}),
    ]
    shifts = [Shift(**shift) for shift in lines[-1]["shifts"]]
    text = Outline(render(Report(title="t", shifts=shifts, settings=found))).text
    rows = [part.strip() for part in text.splitlines() if part.strip()]
    assert "label: 3" in rows
    assert rows[rows.index("size: mean") + 1 : rows.index("size: mean") + 3] == ["7.00", "10.0"]
    assert [row for row in rows if row.startswith(("Attributeddim", "label0", "size: mean0"))] == [
        "Attributeddim, 20 steps, guidance 1heun, 20 steps, guidance 4", "label00.250", "size: mean0−3.00",
    ]  # fmt: skip
    alone = Outline(render(Report(title="t", shifts=shifts, settings=found[:1]))).text
    assert "guidance 1" not in alone, "there is nothing to compare"


def test_rendering_is_deterministic() -> None:
    assert render(full()) == render(full())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.97, "0.970"), (0.9996, "1.00"), (-0.5, "−0.500"), (12.345, "12.3"), (99.96, "100"),
        (12345.0, "12,300"), (0.00012, "0.000120"), (1.2e-5, "1.20 × 10⁻⁵"), (-3e9, "−3.00 × 10⁹"),
        (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_training_and_validation_share_a_panel_and_nothing_else_does() -> None:
    names = ["training loss", "validation loss", "learning rate", "gradient norm"]
    found = [(p.title, [s.name for s in p.series]) for p in panels({name: [(0, 1.0)] for name in names})]
    assert found == [("loss", names[:2]), ("learning rate", names[2:3]), ("gradient norm", names[3:])]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_left_out_and_counted(odd: float) -> None:
    report = Report(title="t", curves={"loss": [(0, 3.0), (1, odd), (2, 1.0), (3, odd), (4, 2.0)], "rate": [(0, odd)]})
    (loss, rate) = panels(report.curves)
    assert (loss.series[0].last, loss.series[0].lowest, loss.series[0].missing) == (2.0, (2, 1.0), 2)
    assert svg(rate, "a") == ""
    text = " ".join(Outline(render(report)).text.split())
    assert "2.00 at the end, lowest 1.00 at step 2; 2 not finite, left out" in text
    assert "no finite value; 1 not finite, left out" in text


def test_thinning_keeps_ends_and_peaks() -> None:
    rng = np.random.default_rng(0)
    steps, values = np.arange(20_000.0), rng.normal(size=20_000)
    values[777], values[12_345] = -50, 50
    kept_steps, kept = thin(steps, values, 100)
    assert len(kept) <= 100
    assert (np.diff(kept_steps) > 0).all()
    assert {0.0, 777.0, 12_345.0, 19_999.0} <= set(kept_steps)
    assert (kept == values[kept_steps.astype(int)]).all()


def test_a_short_curve_is_not_thinned() -> None:
    steps = np.arange(10.0)
    assert thin(steps, steps, 10)[1] is steps


def test_smoothing_is_a_centred_mean() -> None:
    line = np.linspace(3, 5, 101)
    np.testing.assert_allclose(smooth(line, 7)[:-7], line[:-7], rtol=1e-12)  # no shift, at the start neither
    noise = np.random.default_rng(0).normal(size=2_000)
    smoothed = smooth(noise, 12)
    assert smoothed[0] == pytest.approx(noise[0])
    assert smoothed[500] == pytest.approx(noise[488:513].mean())
    assert smoothed[-1] == pytest.approx(noise[-13:].mean())
    np.testing.assert_allclose(smooth(noise, 0), noise, atol=1e-12)


def test_the_axis_is_logarithmic_only_where_that_shows_more() -> None:
    assert wants_log(np.array([0.01, 1.0]))
    assert not wants_log(np.array([0.5, 1.0]))
    assert not wants_log(np.array([0.0, 1.0]))
    assert not wants_log(np.array([-1.0, 100.0]))
    assert not wants_log(np.array([]))


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.0, 0.0], [1e-12, 1e12], [-1.0, 5.0, 1e6], list(np.geomspace(1, 1e-3, 5_000)), [2.0] * 3_000],
    ids=["one", "zeros", "24 decades", "negative", "long", "constant"],
)
def test_a_drawing_is_small_valid_and_follows_the_page(values: list[float]) -> None:
    (panel,) = panels({"training loss": list(enumerate(values))})
    drawing = svg(panel, "a")
    root = ElementTree.fromstring(drawing)
    assert root.get("viewBox") == "0 0 440 270"
    assert root.get("width") is None
    assert len(drawing) < 60_000
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(str(i).startswith("a-") for i in ids)
    assert "<style" not in drawing, "it would apply to the whole page"
    references = re.findall(r'(?:url\(|href=")#([^)"]+)', drawing)
    assert set(references) <= set(ids)
    assert "var(--series-1)" in drawing
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawing))
    assert not colours, "a fixed colour would not follow dark mode"
