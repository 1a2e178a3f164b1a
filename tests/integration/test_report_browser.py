"""The report as a person gets it: opened from disk in Chromium, on a phone and on a screen, light and dark."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, Browser

from suffuse.data import Score
from suffuse.report import Frame, Group, Neighbour, Report, Strip, render

Image = pytest.importorskip("PIL.Image", reason="needs the extra [image]")
datasets = pytest.importorskip("sklearn.datasets", reason="needs the extra [image]")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def picture(values: np.ndarray, alt: str) -> str:
    """A fragment like an image decoder's: ``values`` ``[8, 8]`` in [0, 1] as a grey PNG."""
    file = io.BytesIO()
    Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}" alt="{alt}">'


def example() -> Report:
    """What a run on the digits leaves behind, with real digits in the place of samples."""
    rng = np.random.default_rng(0)
    digits = datasets.load_digits()
    values, labels = digits.images / 16, digits.target
    steps = np.arange(1, 2001)
    loss = (0.045 + 0.9 * np.exp(-steps / 90)) * np.exp(0.22 * rng.normal(size=2000))
    loss[1200] = math.nan
    checks = range(200, 2001, 200)
    groups = [
        Group(label=f"label = {k}", fragments=[picture(v, f"sample of {k}") for v in values[labels == k][:12]])
        for k in range(10)
    ]
    strips = []
    for number in (3, 8):
        frames = []
        for u in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.15, 0.0):
            noisy = (1 - u) * (2 * values[labels == number][5] - 1) + u * rng.normal(size=(8, 8))
            frames.append(Frame(caption=f"u = {u:.2f}", fragment=picture(noisy / 2 + 0.5, f"{number} at u = {u}")))
        strips.append(Strip(label=f"label = {number}, sample 5", frames=frames))
    neighbours = []
    for index in range(6):
        distances = np.square(values - values[index]).sum((1, 2)) ** 0.5
        nearest = distances.argsort()[1:4]
        neighbours.append(
            Neighbour(
                fragment=picture(values[index], "sample"),
                nearest=[picture(values[i], "training item") for i in nearest],
                distance=float(distances[nearest[0]]),
            )
        )
    return Report(
        title="image · digits",
        subtitle="A diffusion model of images, trained from nothing on 1,527 real ones.",
        facts={
            "modality": "image",
            "data": "digits, 1,527 items",
            "network": "unet tiny, 504,193 parameters",
            "steps": "2,000 of batch 128",
            "wall time": "1 min 48 s",
            "device": "cpu, 2 threads",
            "sampler": "dpmpp_2m, 20 steps",
            "seed": "0",
            "checkpoint": "9f2c47aa01d3b6e58c7f90ab12de34f56789abcd0123456789abcdef01234567",
            "versions": "suffuse 0.1.0, torch 2.14.1",
        },
        curves={
            "training loss": list(zip(steps.tolist(), loss.tolist(), strict=True)),
            "validation loss": [(s, float(0.046 + 0.9 * np.exp(-s / 90))) for s in checks],
            "learning rate": [(int(s), 1e-3 * min(1, s / 100) * (1 + math.cos(math.pi * s / 2000)) / 2) for s in steps],
        },
        groups=groups,
        strips=strips,
        neighbours=neighbours,
        scores=[
            Score(
                name="conditional accuracy",
                value=0.981,
                real=0.972,
                better="higher",
                about="Share of samples that a classifier of real data puts in the class that was asked for.",
            ),
            Score(
                name="Fréchet distance (classifier features)",
                value=1.8312,
                real=0.9407,
                better="lower",
                about="Between Gaussians fitted to 64 features of that classifier. Not FID.",
            ),
            Score(name="coverage", value=0.8734, real=0.902, better="higher", about="Of held-out items, k = 5."),
        ],
        config="modality: image\nbackbone:\n  name: unet\n  size: tiny\n"
        "data:\n  name: digits\n  path: /a/rather/long/path/that/does/not/fit/on/a/telephone/in/one/line\n",
        command="suffuse train modality=image data=digits trainer.steps=2000 trainer.batch_size=128 seed=0",
        notes=[
            "All samples on this page were made by a machine-learning model (trainedAlgorithmicMedia).",
            "The model knows 1,527 images of 8 by 8 pixels and nothing else.",
            "The licence of the training data is not recorded here; ask whoever supplied it.",
        ],
        run="runs/image/2025-01-31-120000",
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "report.html"
    path.write_text(render(example()), encoding="utf-8")
    return path


def complaints(browser: Browser) -> list[str]:
    """What the console shows, and every address that is not the page itself or inside it."""
    found = []
    for event in browser.events:
        params = event["params"]
        if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            found.append(json.dumps(params)[:300])
        if event["method"] == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:")):
                found.append(f"loads {url[:80]}")
    return found


def test_the_check_itself_sees_errors(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text('<!doctype html><script>console.error("one")</script><img src="https://example.invalid/a.png">')
    browser.open(path)
    assert len(complaints(browser)) >= 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_reads_well(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.show_as(width, scheme)
    browser.open(page)
    assert complaints(browser) == []
    assert browser.run("document.compatMode") == "CSS1Compat"
    assert browser.run("innerWidth") == width
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    shown = browser.run("[...document.images].map(i => i.naturalWidth && i.getBoundingClientRect().width)")
    assert len(shown) == 120 + 20 + 24
    assert min(shown) >= 48
    assert browser.run("[...document.images].every(i => i.alt)")
    assert min(browser.run(TEXT_SIZES)) >= 10
    assert browser.run("document.querySelector('h1').innerText") == "image · digits"
    faint = browser.run(FAINT_TEXT)
    assert faint == []


@pytest.mark.parametrize("width", [390, 1400])
def test_the_curves_can_be_seen(browser: Browser, page: Path, width: int) -> None:
    browser.show_as(width, "light")
    browser.open(page)
    drawings = browser.run(
        "[...document.querySelectorAll('.curves svg')].map(drawing => drawing.getBoundingClientRect())"
        ".map(box => [box.width, box.height])"
    )
    assert len(drawings) == 2
    assert all(drawn_width >= 300 and height >= 180 for drawn_width, height in drawings)
    strokes = "[...document.querySelectorAll('.curves svg path')].map(path => getComputedStyle(path).stroke)"
    by_day = set(browser.run(strokes))
    browser.show_as(width, "dark")
    by_night = set(browser.run(strokes))
    assert len(by_day) >= 3
    assert by_day != by_night


def test_hostile_text_and_fragments_do_nothing(browser: Browser, tmp_path: Path) -> None:
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    groups = [Group(label=attack, fragments=[attack])]
    path = tmp_path / "hostile.html"
    report = Report(title=attack, facts={attack: attack}, groups=groups, curves={attack: [(0, 1.0)]})
    path.write_text(render(report), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.title") == attack
    assert browser.run("document.querySelector('h1').innerText") == attack


def test_long_words_do_not_widen_the_page(browser: Browser, tmp_path: Path) -> None:
    word = "x" * 300
    score = Score(name=word, value=1.0, real=1.0, better="higher", about=word)
    report = Report(
        title=word,
        subtitle=word,
        facts={word: word},
        curves={word: [(0, 1.0)]},
        groups=[Group(label=word, fragments=[word])],
        strips=[Strip(label=word, frames=[Frame(caption=word, fragment=word)])],
        neighbours=[Neighbour(fragment=word, nearest=[word], distance=1.0)],
        scores=[score],
        config=word,
        command=word,
        notes=[word],
    )
    path = tmp_path / "long.html"
    path.write_text(render(report), encoding="utf-8")
    browser.show_as(390, "light")
    browser.open(path)
    browser.run("document.querySelector('details').open = true")
    assert browser.run("document.scrollingElement.scrollWidth") <= 390


def test_paper_is_white_and_whole(browser: Browser, page: Path) -> None:
    browser.show_as(700, "dark", media="print")
    browser.open(page)
    red, green, blue = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert min(red, green, blue) > 240
    cut = (
        "[...document.querySelectorAll('.scroll, .command')]"
        ".filter(part => part.scrollWidth > part.clientWidth + 1).length"
    )
    assert browser.run(cut) == 0


TEXT_SIZES = """
(() => {
  const plain = [...document.querySelectorAll('p, li, dt, dd, td, th, figcaption, pre')];
  const drawn = [...document.querySelectorAll('svg text')];
  return [...plain.map(e => parseFloat(getComputedStyle(e).fontSize)),
          ...drawn.map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)];
})()
"""

# Text whose contrast with what lies behind it is below 4.5 (WCAG 2.2, criterion 1.4.3).
FAINT_TEXT = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e);
    const [a, b] = [luminance(parts(e.closest('svg') ? style.fill : style.color)), luminance(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${e.tagName} ${e.textContent.slice(0, 20)} ${contrast.toFixed(2)}`);
  }
  return faint;
})()
"""
