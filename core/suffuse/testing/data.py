"""Checks of data sources and decoders: what a network is trained on, and what people get."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from suffuse.conditions import condition_from_json
from suffuse.data import Split
from suffuse.errors import DataError
from suffuse.fields import Field, check, pad
from suffuse.spaces import Categorical, Torus
from suffuse.state import State
from suffuse.testing.bench import Bench
from suffuse.testing.check import Inapplicable, ensure
from suffuse.training.feed import Feed, Order

__all__ = [
    "conditions_are_those_declared",
    "decoding_takes_whatever_is_drawn",
    "decoding_undoes_encoding",
    "files_can_be_read_back",
    "items_are_the_same_every_time",
    "pages_stand_alone",
    "splits_share_no_item",
    "states_fit_their_fields",
    "workers_change_nothing",
]

_MOST = 1024
_BATCH = 64
_CLOSE = 0.05
"""How far a real-valued field may come back from a file or a decoded value, as a share of its scale: root mean square,
which leaves room for eight bits."""


def items_are_the_same_every_time(bench: Bench) -> None:
    """An item is a function of its index: read again, in a batch, or from a source that is made anew."""
    again = bench.new_source()
    for part in ("train", "heldout"):
        split: Split = getattr(bench.source, part)
        for index in sorted({0, 1, len(split) // 2, len(split) - 1} & set(range(len(split)))):
            first = _encoded(bench, split, index)
            split.augment(split[index], np.random.default_rng(index))
            where = f"data.{part}[{index}]"
            ensure(_same(first, _encoded(bench, split, index)), f"{where} differs when it is read again")
            ensure(_same(first, _encoded(bench, getattr(again, part), index)), f"{where} differs in a new source")
            batch = split.gather([index])
            state = bench.decoder.encode(batch.values)
            ensure(_same(first, (state, dict(batch.conditions))), f"{where} differs from what `gather` gives")
    train = bench.source.train
    varied = [_augmented(bench, train, seed) for seed in (1, 1)]
    ensure(_same(*varied), "data.train: `augment` is not a function of its generator alone")


def workers_change_nothing(bench: Bench) -> None:
    """Batches that processes read ahead are those that this one reads."""
    train = bench.source.train
    order = Order.of(train, 0, 4)
    here, there = (
        list(Feed(train, bench.decoder, bench.fields, order, workers).batches([range(4), range(4, 8)]))
        for workers in (0, 2)
    )
    ensure(all(map(_same, here, there)), "data.train: `gather` or `augment` depends on the process that it runs in")


def splits_share_no_item(bench: Bench) -> None:
    """Nothing that is held out is also trained on."""
    if not len(bench.source.heldout):
        raise Inapplicable("nothing is held out")
    trained = dict(_digests(bench, bench.source.train))
    shared = [(trained[digest], index) for digest, index in _digests(bench, bench.source.heldout) if digest in trained]
    pairs = ", ".join(f"train[{ours}] is heldout[{theirs}]" for ours, theirs in shared[:3])
    ensure(not shared, f"{len(shared)} items are in both parts of the data: {pairs}")


def conditions_are_those_declared(bench: Bench) -> None:
    """Items carry no condition but those of their split, and each of them collates, is hidden, and is written down."""
    train = bench.source.train
    ensure(train.conditions == bench.source.heldout.conditions, "data: the two parts declare different conditions")
    items = [train[index].condition for index in range(min(_BATCH, len(train)))]
    strays = {name for condition in items for name in condition} - set(train.conditions)
    ensure(not strays, f"data: items carry {', '.join(sorted(strays))}, which is not among the split's conditions")
    find = partial(bench.registry.find, "condition", plugin=bench.modality)
    for name, kind in train.conditions.items():
        value = train.collate(items)[name]
        known = torch.tensor([condition.get(name) is not None for condition in items])
        ensure(len(value) == len(items), f"condition {name}: {len(items)} values collate to {len(value)} rows")
        ensure(bool((kind.present(value) == known).all()), f"condition {name}: what an item carries counts as missing")
        gone = kind.present(kind.drop(value, torch.ones(len(items), dtype=torch.bool)))
        ensure(not gone.any(), f"condition {name}: hidden, it is still there")
        again = condition_from_json(json.loads(json.dumps(kind.to_json())), find)
        ensure(again == kind, f"condition {name}: not plain data")


def states_fit_their_fields(bench: Bench) -> None:
    """What `encode` gives is of the declared fields: shape, space, padding, sizes and scale."""
    for name, spec in bench.fields.items():
        ensure(Field.from_json(json.loads(json.dumps(spec.to_json()))) == spec, f"field {name}: not plain data")
    train = bench.source.train
    values: dict[str, list[torch.Tensor]] = {name: [] for name in bench.fields}
    sizes = train.sizes()
    for rows in _blocks(train, 4 * _BATCH):
        state = bench.decoder.encode(train.gather(rows).values)
        try:
            check(state, bench.fields)
        except DataError as error:
            ensure(False, str(error))
        for name, spec in bench.fields.items():
            bad = (~state[name].isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
            ensure(not bad, f"field {name}: a number of data.train[{rows[bad[0]] if bad else 0}] is not finite")
            nearest = spec.project(state[name], state.mask)
            where = "its padding is not zero, or it lies outside its space"
            ensure(bool(torch.isclose(state[name], nearest, atol=1e-5 * spec.scale).all()), f"field {name}: {where}")
            values[name].append(spec.layout.to_packed(state[name], state.mask).flatten())
        if state.mask is not None and sizes is not None:
            told = [int(sizes[row]) for row in rows]
            ensure(state.mask.sum(1).tolist() == told, f"data.train: `sizes` says {told[:3]}, the mask says otherwise")
    ensure(sizes is None or state.mask is not None, "data.train: `sizes` are told, but the states have no mask")
    for name, spec in bench.fields.items():
        if values[name][0].is_floating_point() and not isinstance(spec.space, Torus):  # a period is a scale
            spread = float(torch.cat(values[name]).std())
            fits = spread <= 2 * spec.scale and (spec.scale <= 2 * spread or spread == 0)
            ensure(fits, f"field {name}: its scale is {spec.scale:.3g}, but its values spread by {spread:.3g}")


def decoding_undoes_encoding(bench: Bench) -> None:
    """A decoded state is encoded to itself, up to rounding."""
    state = bench.clean.state
    before = state.map(torch.clone)
    back = bench.decoder.encode(bench.decoder.decode(state))
    ensure(all(state[name].equal(before[name]) for name in state), "`decode` changes the state that it is given")
    _ensure_close(bench, back, state, "decoded and encoded again")


def decoding_takes_whatever_is_drawn(bench: Bench) -> None:
    """What a network draws that has learned nothing is decoded, saved and shown all the same."""
    model, indices = bench.new_model(), range(4)
    state = model.draw(indices, model.asked({}, indices), model.recipe(), compute_batch=4)
    values = bench.decoder.decode(state)
    ensure(len(values) == 4, f"`decode` makes {len(values)} values of 4 samples")
    for index, value in enumerate(values):
        bench.decoder.save(value, bench.folder / f"drawn-{index}{bench.decoder.suffix}", {"sample": index})
        bench.decoder.html(value)
    bench.decoder.sheet(values, ["drawn"] * len(values), bench.folder / "drawn.png")


def files_can_be_read_back(bench: Bench) -> None:
    """A saved value is one file that holds its record, and loads as what it was."""
    state = bench.clean.state
    for index, value in enumerate(bench.decoder.decode(state)[:2]):
        paths = [bench.folder / f"saved-{index}-{run}{bench.decoder.suffix}" for run in ("a", "b")]
        for path in paths:
            bench.decoder.save(value, path, {"sample": index, "run": path.stem})
            ensure(path.is_file() and path.stat().st_size > 0, f"`save` leaves no file {path.name}")
        strays = [path.name for path in bench.folder.glob(f"*saved-{index}-*") if path not in paths]
        ensure(not strays, f"`save` leaves {', '.join(strays)} behind")
        ensure(paths[0].read_bytes() != paths[1].read_bytes(), "`save` does not write the record into the file")
        loaded = bench.decoder.encode([bench.decoder.load(paths[0], bench.fields)])
        check(loaded, bench.fields)
        row = state.rows(slice(index, index + 1))
        if row.mask is None:
            _ensure_close(bench, loaded, row, "saved and loaded again")
        else:  # a file may put the elements in an order of its own
            assert loaded.mask is not None
            ensure(int(loaded.mask.sum()) == int(row.mask.sum()), "a sample has another size in its file")


def pages_stand_alone(bench: Bench) -> None:
    """The HTML of a value loads nothing from elsewhere, and a sheet of values is a file."""
    values = bench.decoder.decode(bench.clean.state)
    text = bench.decoder.html(values[0])
    ensure(bool(text.strip()), "`html` gives nothing")
    outside = re.search(
        r"""(?:src|href)\s*=\s*["']?\s*(?!data:|\#)[^"'\s>]+|<script[^>]*\bsrc\b|url\(\s*["']?https?:""", text
    )
    ensure(outside is None, f"`html` loads something from elsewhere: {outside and outside[0]}")
    path = bench.folder / "sheet.png"
    bench.decoder.sheet(values, ["real"] * len(values), path)
    ensure(path.is_file() and path.stat().st_size > 0, "`sheet` leaves no file")


def _encoded(bench: Bench, split: Split, index: int) -> tuple[State, dict[str, Any]]:
    item = split[index]
    return bench.decoder.encode([item.value]), split.collate([item.condition])


def _augmented(bench: Bench, split: Split, seed: int) -> tuple[State, dict[str, Any]]:
    batch = split.gather([0], [np.random.default_rng(seed)])
    return bench.decoder.encode(batch.values), dict(batch.conditions)


def _same(one: tuple[State, dict[str, Any]], other: tuple[State, dict[str, Any]]) -> bool:
    """In every bit; nan is equal to nan: a missing condition, or a fault that another check names."""
    (state, conditions), (state_2, conditions_2) = one, other
    masks = (state.mask, state_2.mask)
    return (
        state.keys() == state_2.keys()
        and conditions.keys() == conditions_2.keys()
        and (masks == (None, None) or (None not in masks and torch.equal(*masks)))  # type: ignore[arg-type]
        and all(torch.equal(state[name].nan_to_num(), state_2[name].nan_to_num()) for name in state)
        and all(torch.equal(value.nan_to_num(), conditions_2[name].nan_to_num()) for name, value in conditions.items())
    )


def _blocks(split: Split, most: int) -> Iterator[range]:
    end = min(most, len(split))
    return (range(start, min(start + _BATCH, end)) for start in range(0, end, _BATCH))


def _digests(bench: Bench, split: Split) -> Iterator[tuple[str, int]]:
    """Of what is real in each item, with its index."""
    for rows in _blocks(split, _MOST):
        state = bench.decoder.encode(split.gather(rows).values)
        for place, index in enumerate(rows):
            row = state.rows(slice(place, place + 1))
            digest = hashlib.sha256()
            for name, spec in bench.fields.items():
                digest.update(spec.layout.to_packed(row[name], row.mask).contiguous().numpy().tobytes())
            yield digest.hexdigest(), index


def _ensure_close(bench: Bench, found: State, wanted: State, how: str) -> None:
    check(found, bench.fields)
    if wanted.mask is not None:
        found = pad(found, bench.fields, wanted.mask.shape[1])
        assert found.mask is not None
        ensure(found.mask.equal(wanted.mask), f"{how}, a sample has another size")
    for name, spec in bench.fields.items():
        if isinstance(spec.space, Categorical):
            ensure(found[name].equal(wanted[name]), f"field {name}: {how}, it has other classes")
        else:
            ensure(found[name].shape == wanted[name].shape, f"field {name}: {how}, it has another shape")
            off = spec.tangent(found[name] - wanted[name], wanted.mask)
            difference = getattr(spec.space, "difference", None)
            off = off if difference is None else difference(found[name], wanted[name])
            error = float(off.square().mean().sqrt()) / spec.scale
            ensure(error <= _CLOSE, f"field {name}: {how}, it is off by {error:.1%} of its scale")
