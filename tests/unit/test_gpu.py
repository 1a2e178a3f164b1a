"""The same code on a GPU. Skipped, with the reason, where there is none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import gpu
from benchmarks.harness import Options
from torch import nn

import suffuse
from suffuse.commands.sample import sample
from suffuse.guidance.graphs import Captured
from suffuse.model import Model
from suffuse.state import State, sent
from suffuse.training.engine import SingleProcess, exact
from tiny import Points, trainer, weights
from tiny_graph import graph_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

MODALITIES = {
    "image": ["modality=image", "backbone=unet_tiny"],
    "dit": ["modality=image", "backbone=dit_tiny"],
    "audio": ["modality=audio", "data.clips=20", "data.heldout=10", "data.seconds=0.32", "backbone=unet2d_tiny"],
    "molecule": ["modality=molecule", "backbone=graph_transformer_tiny", "data.max_atoms=8", "data.descriptors=[logp]"],
    "gps": ["modality=molecule", "backbone=gps", "data.max_atoms=8"],
    "crystal": ["modality=crystal", "backbone=periodic_tiny", "data.max_sites=6"],
}
SHORT = ["trainer.steps=6", "trainer.batch_size=16", "trainer.preview_every=0", "callbacks=none", "device=cuda"]


@pytest.fixture(autouse=True)
def all_bits() -> None:
    exact(True)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_training_lowers_the_loss_in_every_precision(precision: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, heldout=Points(), engine=SingleProcess("cuda", precision), steps=200)
    before = made.validate()
    made.fit()
    assert made.validate() < before


def test_training_is_that_of_the_cpu(tmp_path: Path) -> None:
    there, here = (trainer(tmp_path / where, engine=SingleProcess(where)) for where in ("cuda", "cpu"))
    there.fit()
    here.fit()
    for (name, a), b in zip(weights(there.denoiser).items(), weights(here.denoiser).values(), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-5, msg=name)


def test_a_checkpoint_goes_on_elsewhere(tmp_path: Path) -> None:
    first = trainer(tmp_path, engine=SingleProcess("cuda"), steps=6)
    first.fit()
    second = trainer(tmp_path, engine=SingleProcess("cpu"), steps=12)
    second.resume()
    assert second.step == 6
    second.fit()
    assert all(value.device.type == "cpu" for value in weights(second.denoiser).values())


def on_gpu(model: Model) -> Model:
    model.denoiser = copy.deepcopy(model.denoiser).cuda()
    return model


def draw(model: Model, count: int, **settings: object) -> State:
    settings = {"compute_batch": 4, **settings}
    return model.draw(range(count), {}, model.recipe(), **settings)  # type: ignore[arg-type]


def recordings(model: Model) -> list[object]:
    guided: Any = model.guided(model.recipe())
    while not isinstance(guided, Captured):
        guided = guided.denoiser
    return list(guided.recordings.values())


def test_samples_are_those_of_the_cpu() -> None:
    words = ("sampler.steps=6",)
    here, there = draw(graph_model(*words), 40), draw(on_gpu(graph_model(*words)), 40)
    assert torch.equal(torch.as_tensor(here.mask), torch.as_tensor(there.mask))
    same = torch.ones(40, dtype=torch.bool)
    for name, value in here.items():
        other = there[name]
        assert other.device.type == "cpu"
        near = torch.isclose(value, other, rtol=1e-3, atol=1e-3) if value.is_floating_point() else value == other
        same &= near.flatten(1).all(1)
    assert same.float().mean() >= 0.9, "a class on the brink may fall to the other side"


def test_what_is_replayed_is_what_would_have_been_computed() -> None:
    model = on_gpu(graph_model("sampler.steps=6"))
    replayed, computed = draw(model, 20), draw(model, 20, denoiser=model.denoiser)
    assert recordings(model)
    assert all(recordings(model))
    for name, value in computed.items():
        assert torch.equal(value, replayed[name]), name


def test_weights_that_change_in_place_are_seen() -> None:
    model = on_gpu(graph_model("sampler.steps=6"))
    before = draw(model, 4)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.mul_(0.5)
    after, computed = draw(model, 4), draw(model, 4, denoiser=model.denoiser)
    assert torch.equal(after["positions"], computed["positions"])
    assert not torch.equal(after["positions"], before["positions"])


def test_a_network_that_waits_for_the_device_is_asked_as_it_is() -> None:
    model = on_gpu(graph_model("sampler.steps=6"))

    def wait(module: nn.Module, given: tuple[State, ...]) -> None:
        float(given[0]["positions"].sum())

    handle = model.denoiser.backbone.register_forward_pre_hook(wait)
    waited = draw(model, 8)
    assert recordings(model)
    assert not any(recordings(model))
    handle.remove()
    again = on_gpu(graph_model("sampler.steps=6"))
    replayed = draw(again, 8)
    assert recordings(again)
    assert all(recordings(again))
    for name, value in waited.items():
        assert torch.equal(value, replayed[name]), name


def test_a_copy_back_has_arrived() -> None:
    values = torch.randn(1 << 22)
    there = sent(values, "cuda")
    for _ in range(50):
        there = there * 1.0
    assert torch.equal(sent(there, "cpu"), values)


@pytest.mark.parametrize("kind", MODALITIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_of_every_modality(kind: str, precision: str, tmp_path: Path) -> None:
    words = [*MODALITIES[kind], *SHORT, f"trainer.precision={precision}"]
    if kind in ("molecule", "gps"):
        words += ["data.processes=0", f"data.cache_dir={tmp_path / 'cache'}"]
    run = tmp_path / "run"
    suffuse.train(suffuse.compose(*words), run)
    made = [f"run={run}", "n=3", "sampler.steps=4", f"out={tmp_path / 'out'}"]
    folder = sample(suffuse.compose(*made, "device=cuda", command="sample"))
    assert len(list(folder.iterdir())) >= 3
    assert len(suffuse.load(run).sample(3, sampler={"steps": 4})) == 3  # on the CPU


def test_the_benchmark_runs() -> None:
    found = gpu.measure(Options(quick=True, runs=Path(), results=None))
    assert all(row[1] > 0 for table in found.tables for row in table.rows)
