"""Editing tasks of ``suffuse sample``, on points that are files of two numbers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from suffuse.commands.tasks import Job, prepare
from suffuse.composition import compose
from suffuse.conditions import ClassLabel
from suffuse.data import Decoder, Gap, Measurement, Split
from suffuse.errors import ConfigError, DataError
from suffuse.fields import Field
from suffuse.guidance import Autoguidance, ClassifierFree, PosteriorSampling, PropertyGuidance
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.processes import Discrete, JointProcess
from suffuse.schedules import SquaredCosine
from suffuse.settings import check
from suffuse.spaces import Categorical
from suffuse.state import State
from tiny import SIDES, denoiser, process


class Points(Decoder):
    """A point is a JSON list of two numbers; a mask one of true and false; what was measured is their sum."""

    suffix = ".json"

    def fields(self, train: Split) -> dict[str, Field]:
        raise NotImplementedError

    def encode(self, values: Any) -> State:
        return State({"x": torch.tensor(values, dtype=torch.float32)})

    def decode(self, state: State) -> list[Any]:
        return state["x"].tolist()  # type: ignore[no-any-return]

    def load(self, path: Path, fields: Mapping[str, Field]) -> Any:
        return json.loads(path.read_text())

    def load_mask(self, path: Path, fields: Mapping[str, Field]) -> State:
        return State({"x": torch.tensor(json.loads(path.read_text()))})

    def save(self, value: Any, path: Path, record: Mapping[str, Any]) -> None:
        path.write_text(json.dumps(value))

    def sheet(self, values: Sequence[Any], captions: Sequence[str], path: Path) -> None:
        path.write_text("")

    def html(self, value: Any) -> str:
        return str(value)


class Scales(Points):
    """A decoder with a coarser kind of file."""

    def measure(self, path: Path, fields: Mapping[str, Field]) -> Measurement:
        return Measurement(torch.tensor([json.loads(path.read_text())]), lambda state: state["x"].sum(1, keepdim=True))


class Lines(Points):
    """A line is a list of any number of numbers, and the network knows those of two; what is made counts double."""

    def blank(self, length: str, fields: Mapping[str, Field]) -> Any:
        return [0.0] * int(length)

    def finish(self, value: Any, *, known: bool) -> Callable[[Any], Any]:
        return lambda made: [2 * number for number in made[: len(value) - known]]

    def gap(self, value: Any, mask: Path | None, fields: Mapping[str, Field]) -> Gap:
        room = fields["x"].shape[0] if mask is None else len(value)
        return Gap(State({"x": torch.arange(len(value))[None] >= 2}), lambda made: [room, *made])

    def load(self, path: Path, fields: Mapping[str, Field]) -> Any:
        value = json.loads(path.read_text())
        return value + [0.0] * (fields["x"].shape[0] - len(value))


def model(decoder: Decoder | None = None, **changes: Any) -> Model:
    """An untrained one of two classes."""
    config = compose("modality=image", *(f"{key}={value}" for key, value in changes.items()))
    return Model(
        denoiser=denoiser(conditions={"side": ClassLabel(SIDES)}),
        process=process(scale=0.7),
        decoder=decoder or Points(),
        config=config,
        registry=Registry(),
    )


def job(made: Model, **settings: Any) -> tuple[Job, dict[str, Any]]:
    config = check("sample", {"run": "r", "n": 4, **settings})
    return prepare(config, made, made.recipe(config["sampler"], config["guidance"])), config


def draw(made: Model, **settings: Any) -> torch.Tensor:
    prepared, config = job(made, **settings)
    recipe = made.recipe(config["sampler"], config["guidance"])
    return made.draw(prepared.indices, asked(prepared), recipe, compute_batch=4, **prepared.draw)["x"]


def asked(prepared: Job) -> dict[str, list[Any]]:
    """What all samples of a job are asked for."""
    return {name: list(values) for name, values in prepared.asked(prepared.indices).items()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A point, another, a mask of the first number, and a sum."""
    written = {"input": [0.4, -0.3], "other": [-0.8, 0.9], "mask": [True, False], "sum": [0.5]}
    for name, value in written.items():
        (tmp_path / name).write_text(json.dumps(value))
    return {name: str(tmp_path / name) for name in written}


def test_no_task_draws_from_noise() -> None:
    prepared, _ = job(model())
    assert asked(prepared) == {"side": [0, 1, 0, 1]}
    assert prepared.evaluations == 20
    assert draw(model()).shape == (4, 2)


@pytest.mark.parametrize("length", [2, 7])
def test_samples_may_have_any_length_that_the_decoder_understands(length: int) -> None:
    made = model(Lines())
    assert draw(made, length=str(length)).shape == (4, length)
    prepared, _ = job(made, length=str(length))
    assert prepared.join is not None
    assert prepared.join([1.0] * 9) == [2.0] * length
    if length == 2:
        assert torch.equal(draw(made, length="2"), draw(made)), "what is not longer is not made in windows"


@pytest.mark.parametrize("task", ["vary", "reconstruct"])
def test_a_longer_input_is_taken_whole(task: str, files: dict[str, str]) -> None:
    Path(files["input"]).write_text("[0.4, -0.3, 0.1, 0.2, -0.5]")
    settings = {"task": task, "input": files["input"], "sampler": {"name": "ddim", "steps": 20}}
    assert draw(model(Lines()), **settings).shape[1] == 5
    prepared, _ = job(model(Lines()), **settings)
    assert prepared.join is not None
    assert prepared.join([1.0] * 9) == [2.0] * 5


def test_a_longer_input_is_filled_in_and_continued(files: dict[str, str]) -> None:
    Path(files["input"]).write_text("[0.4, -0.3, 0.1, 0.2]")
    both = {"task": "inpaint", "input": files["input"]}
    made = draw(model(Lines()), mask=files["mask"], **both)
    torch.testing.assert_close(made[:, :2], torch.tensor([[0.4, -0.3]]).expand(4, 2))
    assert made.shape == (4, 4)
    assert draw(model(Lines()), length="6", **both).shape == (4, 6)
    prepared, _ = job(model(Lines()), length="6", **both)
    assert prepared.join is not None
    assert prepared.join([1.0] * 9) == [12.0, *[2.0] * 5], "filled in first, and then as long as was asked for"


def test_a_decoder_that_no_file_depends_on_is_the_one_of_the_run() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.subtype: taken from the run, nothing of it can be changed"):
        model().save_as({"subtype": "float"})


def test_a_length_that_means_nothing_is_named(files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"length=2\.5s: the samples of this run have one size"):
        job(model(), length="2.5s")
    for settings in ({"task": "vary"}, {"task": "inpaint", "mask": files["mask"]}):
        with pytest.raises(ConfigError, match="length belongs to samples from noise, and to task=inpaint without"):
            job(model(Lines()), length="4", input=files["input"], **settings)


def test_inpainting_keeps_the_known_number_and_tells_what_resampling_costs(files: dict[str, str]) -> None:
    both = {"task": "inpaint", "input": files["input"], "mask": files["mask"]}
    made = draw(model(), **both)
    assert (made[:, 1] == -0.3).all()
    assert len(made[:, 0].unique()) == 4
    again, config = job(model(), **both, resample={"jump": 5, "repeats": 3})
    assert config["resample"] == {"jump": 5, "repeats": 3}
    assert again.evaluations == 3 * 19 + 1
    assert (draw(model(), **both, resample={"jump": 5, "repeats": 3})[:, 1] == -0.3).all()


def test_variations_cost_less_the_less_they_change(files: dict[str, str]) -> None:
    words = {"task": "vary", "input": files["input"]}
    near, far = (draw(model(), **words, strength=strength) for strength in (0.05, 1.0))
    given = torch.tensor([0.4, -0.3])
    assert (near - given).norm() < (far - given).norm()


def test_enlarging_keeps_to_what_was_measured(files: dict[str, str]) -> None:
    words = {"task": "upscale", "input": files["sum"]}
    prepared, _ = job(model(Scales()), **words, measurement={"deviation": 0.2, "iterations": 2, "route": "estimate"})
    guided = prepared.draw["denoiser"]
    assert isinstance(guided, PosteriorSampling)
    assert (guided.deviation, guided.iterations, guided.route) == (0.2, 2, "estimate")
    assert isinstance(guided.denoiser, ClassifierFree)
    assert asked(prepared) == {"side": [None] * 4}
    for route in ("network", "estimate"):
        made = draw(model(Scales()), **words, measurement={"deviation": 0.0, "route": route})
        assert (made.sum(1) - 0.5).abs().max() < 0.05
        assert len(made[:, 0].unique()) == 4


def test_decoders_without_coarser_files_say_so(files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="task=upscale: the decoder Points has no coarser files"):
        job(model(), task="upscale", input=files["sum"])


def test_reconstruction_finds_the_noise_and_makes_the_sample_again(files: dict[str, str]) -> None:
    chosen = {"name": "heun", "steps": 199}
    prepared, _ = job(model(), task="reconstruct", input=files["input"], sampler=chosen)
    assert list(prepared.indices) == [0]
    assert asked(prepared) == {"side": [None]}
    assert (prepared.evaluations, prepared.before) == (199, 198)
    made = draw(model(), task="reconstruct", input=files["input"], sampler=chosen)
    torch.testing.assert_close(made, torch.tensor([[0.4, -0.3]]), rtol=0, atol=0.01)
    assert prepared.compare is not None
    off = prepared.compare(State({"x": made}))["x"]
    assert off == pytest.approx(float((made - torch.tensor([0.4, -0.3])).square().mean().sqrt()) / 0.7)


def test_interpolation_goes_from_one_input_to_the_other(files: dict[str, str]) -> None:
    words = {"task": "interpolate", "input": files["input"], "other": files["other"], "n": 5}
    chosen = {"sampler": {"name": "heun", "steps": 199}, "condition": {"side": "right"}}
    made = draw(model(), **words, **chosen)
    torch.testing.assert_close(made[[0, 4]], torch.tensor([[0.4, -0.3], [-0.8, 0.9]]), rtol=0, atol=0.02)
    assert asked(job(model(), **words, **chosen)[0]) == {"side": [1] * 5}
    alone = draw(model(), **words, **chosen, indices=[3])
    torch.testing.assert_close(alone, made[3:4], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "reconstruct", "sampler": {"name": "ddim", "eta": 1.0}}, "DDIM adds noise on its way"),
        ({"task": "reconstruct", "condition": {"side": [0, 1]}}, "condition.side=.*takes one value"),
        ({"task": "interpolate", "other": "input", "indices": [4]}, "n=4: task=interpolate makes samples 0 to n - 1"),
        ({"task": "interpolate", "other": "input", "n": 1}, "n=2 or more"),
        ({"task": "interpolate"}, "other=FILE"),
        ({"task": "inpaint"}, "task=inpaint needs mask=FILE"),
        ({"task": "upscal"}, "task=upscal: known are vary, inpaint, upscale, .*; did you mean 'upscale'"),
        ({"task": "given"}, "task=given: this run was trained without given fields"),
        ({"task": "vary", "other": "input"}, "other belongs to task=interpolate"),
        ({"task": "vary", "mask": "mask"}, "mask belongs to task=inpaint"),
        ({"task": "vary", "resample": {"repeats": 3}}, r"resample\.repeats belongs to task=inpaint"),
        ({"task": "inpaint", "mask": "sum"}, "mask: the field x needs true and false"),
        ({"task": "inpaint", "mask": "long"}, r"mask: the field x needs the shape \[2\]"),
        ({"task": "inpaint", "mask": "mask", "resample": {"jump": 0}}, r"resample\.jump=0"),
        ({"task": "upscale", "measurement": {"route": "net"}}, r"measurement\.route=net"),
    ],
)
def test_what_does_not_fit_a_task_is_one_line(
    files: dict[str, str], tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "long").write_text("[true, false, true]")
    files["long"] = str(tmp_path / "long")
    named = {key: files.get(value, value) if key in ("mask", "other") else value for key, value in settings.items()}
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        job(model(), input=files["input"], **named)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_shape_is_named(tmp_path: Path) -> None:
    """One that is smaller; a larger one is made in windows."""
    (tmp_path / "short.json").write_text("[1.0]")
    with pytest.raises(DataError, match=r"short\.json: does not fit this run .*\[1, 1\].*\[1, 2\]"):
        job(model(), task="vary", input=str(tmp_path / "short.json"))


def test_settings_of_another_modality_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"scaffold: samples of image have no such setting"):
        job(model(), own={"scaffold": "C*"})
    with pytest.raises(ConfigError, match=r"size=3: the samples of this run are all of one size"):
        job(model(), size=3)


def test_classes_cannot_be_turned_round(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    monkeypatch.setattr(made.decoder, "encode", lambda values: State({"x": torch.tensor([[0, 2]])}))
    fields = {"x": Field(shape=(2,), space=Categorical(3))}
    made.process = JointProcess(fields, {"x": Discrete(SquaredCosine(), (1 / 3,) * 3)})
    made.denoiser.fields.update(fields)
    for task in ({"task": "reconstruct"}, {"task": "interpolate", "other": files["other"]}):
        with pytest.raises(ConfigError, match="the field x is categorical"):
            job(made, input=files["input"], **task)


# Guidance by configuration -----------------------------------------------------------------------------------------


def test_autoguidance_loads_the_network_that_it_is_told_of() -> None:
    made, opened = model(), []

    def others(run: str | None, step: int | None) -> Model:
        opened.append((run, step))
        return model()

    made.others = others
    guided = made.guided(made.recipe(None, {"name": "autoguidance", "run": "small", "checkpoint": 7, "scale": 1.5}))
    assert isinstance(guided, Autoguidance)
    assert opened == [("small", 7)]
    assert guided.scale == 1.5
    assert guided.weak is not made.denoiser
    with pytest.raises(ConfigError, match=r"guidance\.run=DIR, or guidance\.checkpoint=STEP"):
        made.guided(made.recipe(None, {"name": "autoguidance"}))
    with pytest.raises(ConfigError, match=r"guidance\.load is set by the program"):
        made.guided(made.recipe(None, {"name": "autoguidance", "checkpoint": 7, "load": "x"}))


def test_property_guidance_moves_samples_to_the_property() -> None:
    made = model()
    chosen = {"name": "property", "scale": 1.0, "predictor": {"name": "average", "value": 1.5, "deviation": 0.05}}
    guided = made.guided(made.recipe(None, chosen))
    assert isinstance(guided, PropertyGuidance)
    plain, moved = (draw(made, guidance=each).mean(1) for each in ({}, chosen))
    assert (moved - 1.5).abs().mean() < (plain - 1.5).abs().mean() / 2


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        ({"name": "averag"}, r"guidance\.predictor\.name=averag.*did you mean 'average'"),
        ({"name": "average", "field": "y"}, r"guidance\.predictor\.field=y: must be one of x"),
        ({"name": "average", "of": 1}, r"guidance\.predictor\.of=1"),
        ({"name": "average", "deviation": 0}, r"guidance\.predictor\.deviation=0"),
        ({"name": "average", "valeu": 0}, r"guidance\.predictor\.valeu is not a setting"),
    ],
)
def test_predictors_are_checked(predictor: dict[str, Any], message: str) -> None:
    made = model()
    with pytest.raises(ConfigError, match=message):
        made.guided(made.recipe(None, {"name": "property", "predictor": predictor}))


@pytest.mark.parametrize(
    ("dropout", "scale", "warned"), [(0, 2.0, True), (0, 1.0, False), (0.1, 2.0, False), (0, 0.5, True)]
)
def test_guidance_of_a_run_that_always_saw_its_conditions_warns(dropout: float, scale: float, warned: bool) -> None:
    made = model(**{"trainer.condition_dropout": dropout})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.guided(made.recipe(None, {"scale": scale}))
    assert [str(w.message).startswith(f"guidance.scale={scale:g}: this run was trained") for w in caught] == (
        [True] * warned
    )
    assert all("\n" not in str(w.message) for w in caught)
