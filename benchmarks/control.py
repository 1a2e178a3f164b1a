"""Asking for a property: two networks learn QM9 with logP as a condition for five minutes each, one with the labels
that belong to the molecules and one with the same labels shuffled, which is what asking is worth where nothing was
learned. Then both are asked for values as they occur in the data, and for the range from the 80th to the 90th
percentile. The share of draws in that range stands beside that of draws that are asked for nothing. Invalid draws
achieve nothing and are left out of differences, but not of shares. The promises are those of one way of asking, the
learned predictor's; every figure is a mean over seeds."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.experiment import QUICK, data_folder
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.qm9 import OVERRIDES
from benchmarks.survival import newest

__all__ = ["measure"]

GUIDED = {
    "none": [],
    "classifier-free, scale 2": ["guidance.scale=2"],
    "learned predictor": ["guidance=learned"],
}
"""Ways of asking."""
JUDGED = "learned predictor"
SEEDS = (0, 1, 2)
STEPS = 2600
FIGURES = ("spread", "mae", "within", "valid")


def measure(options: Options) -> Findings:
    """Differences between asked and achieved values, and shares in a range, for each way of asking."""
    lines = _molecules(options.quick)
    known = sorted(value for _, value in lines)
    span = (known[int(0.8 * len(known))], known[int(0.9 * len(known))])
    seeds, count = (SEEDS[:1], 60) if options.quick else (SEEDS, 500)
    runs = [_asked(lines, span, count, seed, options) for seed in seeds]
    found = {
        name: {each: statistics.fmean(run[name][each] for run in runs) for each in FIGURES if each in runs[0][name]}
        for name in runs[0]
    }
    free, judged, shuffled = (found[name] for name in ("nothing", f"true labels, {JUDGED}", "shuffled labels, none"))
    closeness = judged["spread"] / shuffled["spread"]
    hits = judged["within"] / free["within"] if free["within"] else math.inf
    loss = free["valid"] - judged["valid"]
    bars = [
        Bar(promise="difference, of that with shuffled labels: at most 0.5", found=closeness, met=closeness <= 0.5),
        Bar(promise="share in the range, of that of draws asked for nothing: at least 3", found=hits, met=hits >= 3),
        Bar(promise="loss of validity by asking for the range: at most 0.05", found=loss, met=loss <= 0.05),
    ]
    rows: list[list[Cell]] = [[name, *(figures.get(each) for each in FIGURES)] for name, figures in found.items()]
    columns = ("asked for", "difference, values of the data", "difference, range", "share in the range", "valid")
    settings: dict[str, Cell] = {
        "draws of each": count,
        "range of logP": f"{span[0]:.3f} to {span[1]:.3f}",
        "seeds": ", ".join(map(str, seeds)),
    }
    return Findings(bars=bars, tables=[Table(title="logP", columns=columns, rows=rows)], settings=settings)


def _asked(
    lines: Sequence[tuple[str, float]], span: tuple[float, float], count: int, seed: int, options: Options
) -> dict[str, dict[str, float]]:
    """The figures of one seed, for each way of asking. What an earlier call finished is not done again."""
    place = options.runs / f"control-{seed}"
    runs = {name: _train(name, lines, seed, place, options.quick) for name in ("true labels", "shuffled labels")}
    drawn = partial(_drawn, count=count, seed=seed, span=span)
    found = {"nothing": drawn(runs["true labels"], [], place / "free")}
    for name, run in runs.items():
        for way, words in GUIDED.items():
            if name == "shuffled labels" and words:
                continue
            lessons = ["guidance.predictor.steps=20"] if options.quick and "guidance=learned" in words else []
            stem = place / f"{name} {way}".replace(" ", "-")
            spread = drawn(run, ["condition.logp=-10..10", *words, *lessons], stem.with_suffix(".spread"))
            asked = f"condition.logp={span[0]:.4f}..{span[1]:.4f}"
            inside = drawn(run, [asked, *words, *lessons], stem.with_suffix(".range"))
            found[f"{name}, {way}"] = {**inside, "spread": spread["mae"]}
    del found["nothing"]["mae"]
    return found


def _molecules(quick: bool) -> list[tuple[str, float]]:
    """SMILES with their logP."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import Crippen

    with (data_folder() / "qm9" / "qm9_smiles.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)]
    with rdBase.BlockLogs():
        mols = ((text, Chem.MolFromSmiles(text)) for text in (texts[::50] if quick else texts))
        return [(text, float(Crippen.MolLogP(mol))) for text, mol in mols if mol is not None]


def _train(name: str, lines: Sequence[tuple[str, float]], seed: int, place: Path, quick: bool) -> Path:
    texts, values = zip(*lines, strict=True)
    if name.startswith("shuffled"):
        values = tuple(random.Random(seed).sample(values, len(values)))
    stem = place / name.replace(" ", "-")
    steps = 20 if quick else STEPS
    if newest(stem) == steps:
        return stem
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(stem, ignore_errors=True)
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "logp"])
        writer.writerows(zip(texts, values, strict=True))
    words = [word for word in OVERRIDES if not word.startswith("data.path")]
    words += [f"data.path={stem.with_suffix('.csv')}", "data.numbers=[logp]", f"seed={seed}", f"trainer.steps={steps}"]
    _suffuse("train", *words, *(QUICK if quick else []), f"hydra.run.dir={stem}")
    return stem


def _drawn(
    run: Path, words: Sequence[str], folder: Path, *, count: int, seed: int, span: Sequence[float]
) -> dict[str, float]:
    """Of some draws: mean absolute difference from what was asked, share of all in a range, share of valid ones."""
    draws = [f"n={count}", f"seed={seed}", "table=true", "nearest=false", "page=0"]
    _suffuse("sample", f"run={run}", *draws, f"out={folder}", *words)
    with (folder / "molecules.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    achieved = [float(row["logp"]) for row in rows if row["logp"]]
    asked = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["asked"]
    return {
        "mae": asked["logp"]["mae"] if "logp" in asked else float("nan"),
        "within": sum(span[0] <= value <= span[1] for value in achieved) / len(rows),
        "valid": len(achieved) / len(rows),
    }


def _suffuse(*words: str) -> None:
    print(f"$ suffuse {' '.join(words)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "suffuse", *words], check=True, stdout=sys.stderr)
