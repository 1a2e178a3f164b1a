"""Asking for a property: two networks learn QM9 with logP as a condition for five minutes each, one with the labels
that belong to the molecules and one with the same labels shuffled, which is what asking is worth where nothing was
learned. Then both are asked for values as they occur in the data, and for the range from the 80th to the 90th
percentile. The share of draws in that range stands beside that of draws that are asked for nothing. Invalid draws
achieve nothing and are left out of differences, but not of shares."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment import QUICK, data_folder
from benchmarks.harness import Bar, Cell, Findings, Options, Table
from benchmarks.qm9 import OVERRIDES

__all__ = ["measure"]

GUIDED = {
    "none": [],
    "classifier-free, scale 2": ["guidance.scale=2"],
    "learned predictor": ["guidance=learned"],
    "both": ["guidance=learned", "guidance.classifier_free=2"],
}
"""Ways of asking."""


def measure(options: Options) -> Findings:
    """Differences between asked and achieved values, and shares in a range, for each way of asking."""
    lines = _molecules(options.quick)
    runs = {name: _train(name, lines, options) for name in ("true labels", "shuffled labels")}
    known = sorted(value for _, value in lines)
    span = [known[int(share * len(known))] for share in (0.8, 0.9)]
    count = 60 if options.quick else 500
    free = _drawn(runs["true labels"], [], count, options.runs / "free", span)
    rows: list[list[Cell]] = [["nothing", None, None, free["within"], free["valid"]]]
    found = {}
    for name, run in runs.items():
        for way, words in GUIDED.items():
            if name == "shuffled labels" and words:
                continue
            lessons = ["guidance.predictor.steps=20"] if options.quick and "guidance=learned" in words else []
            words = [*words, *lessons]
            stem = options.runs / f"{name} {way}".replace(" ", "-")
            spread = _drawn(run, ["condition.logp=-10..10", *words], count, stem.with_suffix(".spread"), span)
            asked = f"condition.logp={span[0]:.4f}..{span[1]:.4f}"
            inside = _drawn(run, [asked, *words], count, stem.with_suffix(".range"), span)
            found[name, way] = (spread["mae"], inside["within"])
            rows.append([f"{name}, guidance {way}", spread["mae"], inside["mae"], inside["within"], inside["valid"]])
    plain = found["shuffled labels", "none"]
    best = min(value[0] for (name, _), value in found.items() if name == "true labels")
    share = max(value[1] for (name, _), value in found.items() if name == "true labels")
    bars = [
        Bar(promise="mean absolute difference, of that with shuffled labels: at most 0.5", found=best / plain[0],
            met=best <= 0.5 * plain[0]),
        Bar(promise="share in the range, of that of draws asked for nothing: at least 3", found=share / free["within"],
            met=share >= 3 * free["within"]),
    ]  # fmt: skip
    columns = ("asked for", "difference, values of the data", "difference, range", "share in the range", "valid")
    settings: dict[str, Cell] = {"draws of each": count, "range of logP": f"{span[0]:.3f} to {span[1]:.3f}"}
    return Findings(bars=bars, tables=[Table(title="logP", columns=columns, rows=rows)], settings=settings)


def _molecules(quick: bool) -> list[tuple[str, float]]:
    """SMILES with their logP."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import Crippen

    with (data_folder() / "qm9" / "qm9_smiles.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)]
    with rdBase.BlockLogs():
        mols = ((text, Chem.MolFromSmiles(text)) for text in (texts[::50] if quick else texts))
        return [(text, float(Crippen.MolLogP(mol))) for text, mol in mols if mol is not None]


def _train(name: str, lines: Sequence[tuple[str, float]], options: Options) -> Path:
    texts, values = zip(*lines, strict=True)
    if name.startswith("shuffled"):
        values = tuple(random.Random(0).sample(values, len(values)))
    stem = options.runs / name.replace(" ", "-")
    options.runs.mkdir(parents=True, exist_ok=True)
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "logp"])
        writer.writerows(zip(texts, values, strict=True))
    words = [word for word in OVERRIDES if not word.startswith("data.path")]
    words += [f"data.path={stem.with_suffix('.csv')}", "data.numbers=[logp]", "trainer.steps=2600"]
    _suffuse("train", *words, *(QUICK if options.quick else []), f"hydra.run.dir={stem}")
    return stem


def _drawn(run: Path, words: Sequence[str], count: int, folder: Path, span: Sequence[float]) -> dict[str, float]:
    """Of some draws: mean absolute difference from what was asked, share of all in a range, share of valid ones."""
    _suffuse("sample", f"run={run}", f"n={count}", "table=true", "nearest=false", "page=0", f"out={folder}", *words)
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
