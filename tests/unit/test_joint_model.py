"""A model of every kind of field at once: its processes by configuration, samples of varying size, seeds of samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from suffuse.assembly import build_model, build_process
from suffuse.composition import compose
from suffuse.conditions import Scalar
from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layouts import Dense, Layout, Masked
from suffuse.model import Model
from suffuse.plugins import Registry
from suffuse.processes import Discrete, Gaussian, WrappedGaussian
from suffuse.sizes import Sizes
from suffuse.state import State
from suffuse.warps import Frozen, Power
from tiny_graph import FIELDS, graph_model


@pytest.fixture(scope="module")
def model() -> Model:
    return graph_model("sampler.steps=4")


def draw(model: Model, indices: list[int] | range, **settings: Any) -> State:
    recipe = model.recipe(settings.pop("sampler", None))
    return model.draw(indices, {}, recipe, **{"compute_batch": 4, **settings})


def test_each_space_has_its_process(model: Model) -> None:
    kinds = {name: type(part) for name, part in model.process.processes.items()}
    assert kinds == {"positions": Gaussian, "atoms": Discrete, "bonds": Discrete, "angle": WrappedGaussian}
    atoms = model.process.processes["atoms"]
    assert isinstance(atoms, Discrete)
    assert atoms.probabilities == FIELDS["atoms"].frequencies


def test_fields_are_changed_by_name() -> None:
    fields = "{atoms:{prior:absorbing,warp:{name:power,exponent:2},weight:3},angle:{warp:{name:frozen}}}"
    process = graph_model(f"process.fields={fields}").process
    atoms = process.processes["atoms"]
    assert isinstance(atoms, Discrete)
    assert atoms.probabilities == (0, 0, 0, 0, 1)
    assert process.warp("atoms") == Power(2.0)
    assert process.fields["atoms"].weight == 3
    assert process.warp("angle") == Frozen()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("{atom:{prior:uniform}}", r"process\.fields\.atom: .* did you mean 'atoms'"),
        ("{atoms:{prior:[0.5,0.5]}}", "4 classes, but 2 probabilities"),
        ("{atoms:{prior:[0.5,0.5,0.5,0.5]}}", "must sum to 1"),
        ("{atoms:{prior:marginl}}", r"process\.fields\.atoms\.prior=marginl"),
        ("{atoms:{schedule:{name:edm}}}", "no keep-probability"),
        ("{atoms:{name:gaussian}}", "has no Gaussian noise"),
        ("{angle:{schedule:{name:cosine}}}", "fades the signal"),
        ("{angle:{schedule:{name:edm,sigma_max:1.0}}}", "sigma_max is 0.167 periods"),
        ("{positions:{name:discrete}}", "only a categorical field"),
        ("{positions:{warp:{name:power,exponent:0}}}", r"warp\.exponent=0"),
        ("{positions:{wrap:1}}", r"process\.fields\.positions\.wrap is not a setting"),
    ],
)
def test_what_does_not_fit_is_named(typed: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_process(compose("modality=image", f"process.fields={typed}")["process"], Registry(), FIELDS, "image")


def test_samples_have_sizes_of_the_data_and_stay_in_their_spaces(model: Model) -> None:
    state = draw(model, range(12))
    assert state.mask is not None
    sizes = state.mask.sum(1).tolist()
    assert sizes == model.sizes.draw(0, range(12))  # type: ignore[union-attr]
    assert set(sizes) <= {3, 5, 9, 17}
    assert len(set(sizes)) > 1
    for name, field in FIELDS.items():
        torch.testing.assert_close(field.project(state[name], state.mask), state[name], rtol=1e-5, atol=1e-5)
    assert int(state["atoms"].max()) < 4
    assert torch.equal(state["bonds"], state["bonds"].transpose(1, 2))


def test_a_sample_is_the_same_in_any_order_and_shard(model: Model) -> None:
    """In every bit, for one `compute_batch`: whatever it is drawn beside, and padded to."""
    whole = draw(model, range(12))
    assert whole.mask is not None
    for indices in ([7], [11, 0, 5], [3, 100, 101, 102, 103]):
        part = draw(model, indices)
        assert part.mask is not None
        for row, index in enumerate(indices):
            if index >= 12:
                continue
            size = int(whole.mask[index].sum())
            assert int(part.mask[row].sum()) == size
            for name, rank in (("positions", 1), ("atoms", 1), ("bonds", 2), ("angle", 0)):
                cut = (slice(size),) * rank
                assert torch.equal(part[name][(row, *cut)], whole[name][(index, *cut)]), (name, index)


def test_another_compute_batch_agrees_on_real_numbers(model: Model) -> None:
    """Until a class falls on the other side of a rounding: not within these steps."""
    apart = draw(model, range(6), compute_batch=2)["positions"] - draw(model, range(6), compute_batch=6)["positions"]
    assert float(apart.abs().max()) < 1e-4


def test_padding_that_depends_on_the_batch_is_noticed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = draw(model, range(12))
    monkeypatch.setattr(Sizes, "room", staticmethod(lambda size: 20))
    other = draw(model, range(12))
    assert not torch.equal(other["positions"][:, :3], whole["positions"][:, :3])


def test_sizes_may_be_asked_for(model: Model) -> None:
    assert model.sizes is not None
    assert set(model.sizes.within(4, 9).draw(0, range(50))) == {5, 9}
    with pytest.raises(ConfigError, match=r"size=30\.\.: .* had 3 to 17 elements"):
        model.sizes.within(30)
    state = draw(model, range(2), sizes=Sizes({4: 1}))
    assert state.mask is not None
    assert state.mask.sum(1).tolist() == [4, 4]


def test_rare_rooms_take_narrow_batches() -> None:
    """What is filled up is about a batch in all, and no room's width depends on what is drawn."""
    sizes = Sizes({9: 800, 8: 130, 7: 40, 5: 1})
    assert [sizes.width(room, 64) for room in (9, 8, 7, 5)] == [64, 32, 16, 16]
    assert [sizes.width(room, 4) for room in (9, 5)] == [4, 4]
    assert Sizes({12: 3}).width(12, 48) == 48


def test_each_sample_asks_for_its_own_value_of_a_range(model: Model) -> None:
    """Decided by index and seed alone, like everything else of a sample."""
    model = replace(model, denoiser=graph_model(conditions={"mass": Scalar.of(range(100))}).denoiser)
    whole = model.asked({"mass": "20..60"}, range(40))["mass"]
    assert all(20 <= value <= 60 for value in whole)
    assert len(set(whole)) > 20
    assert model.asked({"mass": "20..60"}, [31, 7])["mass"] == [whole[31], whole[7]]
    assert model.asked({"mass": "20..60"}, range(40), seed=1)["mass"] != whole
    assert model.asked({"mass": ["1..2", 5]}, range(4))["mass"][1::2] == [5, 5]
    assert model.asked({"mass": None}, [0]) == {"mass": [None]}
    with pytest.warns(UserWarning, match=r"condition\.mass=200\.\.300: the training data had 0 to 99"):
        model.asked({"mass": "200..300"}, [0])
    with pytest.raises(ConfigError, match=r"condition\.mas: .*did you mean 'mass'"):
        model.asked({"mas": 3}, [0])


@pytest.mark.parametrize("room", [(1, 1), (7, 7), (15, 15), (16, 16), (17, 18), (33, 36), (100, 104), (1000, 1024)])
def test_rooms_are_little_larger_than_sizes(room: tuple[int, int]) -> None:
    assert Sizes.room(room[0]) == room[1]
    assert all(size <= Sizes.room(size) <= 1.125 * size for size in range(1, 3000))


@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp_2s", "dpmpp_3m", "euler"])
def test_every_solver_moves_every_field(solver: str) -> None:
    model = graph_model(f"sampler={solver}", "sampler.steps=5")
    state = draw(model, range(3))
    assert state["positions"].isfinite().all()
    assert int(state["atoms"].max()) < 4


def test_tokens_alone_take_one_look_a_step() -> None:
    words = "{positions:{warp:{name:frozen}},angle:{warp:{name:frozen}}}"
    model = graph_model(f"process.fields={words}", "sampler=heun", "sampler.steps=6", "sampler/grid=uniform")
    assert model.process.categorical
    assert model.evaluations(model.recipe()) == 6
    state = draw(model, range(3))
    assert not state["positions"].any()


def test_sampling_by_confidence_needs_a_mask() -> None:
    model = graph_model("sampler/categorical=confidence", "sampler.steps=4")
    with pytest.raises(ConfigError, match="atoms has no mask"):
        draw(model, [0])
    absorbing = "{atoms:{prior:absorbing},bonds:{prior:absorbing}}"
    model = graph_model("sampler/categorical=confidence", f"process.fields={absorbing}", "sampler.steps=4")
    assert int(draw(model, range(4))["atoms"].max()) < 4


@pytest.mark.parametrize(("shape", "layout"), [((-1,), Dense()), ((3, -1), Masked()), ((-1, -1), Masked())])
def test_an_axis_varies_only_where_the_layout_pads_it(shape: tuple[int, ...], layout: Layout) -> None:
    fields = {"x": Field(shape=shape, layout=layout)}
    with pytest.raises(ConfigError, match=r"field x has the shape .*use Masked"):
        build_model(compose("modality=image"), Registry(), fields, {}, decoder=None)  # type: ignore[arg-type]
