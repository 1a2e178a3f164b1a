"""The backbones for sounds: shapes, any length, what a prediction may depend on, and fields that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.state import State
from suffuse_audio.backbones import DiT1D, UNet1D, UNet2D
from suffuse_audio.backbones.contract import fill, heads

Make = Callable[..., nn.Module]
DIM = 24


def fields_of(*shape: int, name: str = "sound") -> dict[str, Field]:
    return {name: Field(shape=shape)}


def small_unet2d(fields: dict[str, Field], **settings: Any) -> UNet2D:
    return UNet2D(fields, **{"widths": [8, 16], "blocks": [1, 1], "bands": 4, "condition_dim": DIM, **settings})


def plain_unet2d(fields: dict[str, Field], **settings: Any) -> UNet2D:
    return small_unet2d(fields, **{"bands": 0, "attention": False, "patch": [1, 1], **settings})


def small_unet1d(fields: dict[str, Field], **settings: Any) -> UNet1D:
    return UNet1D(fields, **{"widths": [8, 16], "blocks": [2, 1], "strides": [4, 2], "condition_dim": DIM, **settings})


def small_dit1d(fields: dict[str, Field], **settings: Any) -> DiT1D:
    return DiT1D(fields, **{"width": 32, "depth": 2, "heads": 2, "reach": 3, "condition_dim": DIM, **settings})


PLANE, LINE = (2, 16, 24), (1, 64)
CASES = [(small_unet2d, PLANE), (small_dit1d, PLANE), (small_unet1d, LINE), (small_dit1d, LINE)]
ALL = pytest.mark.parametrize(("make", "shape"), CASES)


def perturbed(model: nn.Module) -> nn.Module:
    """Away from the start, where the output is zero and most gradients are."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def inputs(*shape: int, name: str = "sound") -> tuple[State, dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    x = torch.randn(shape)
    return State({name: x}), {name: torch.linspace(-4, 6, len(x))}, torch.randn(len(x), DIM)


@ALL
def test_output_has_the_shape_of_the_field_and_starts_at_zero(make: Make, shape: tuple[int, ...]) -> None:
    for name in ("sound", "type"):
        model = make(fields_of(*shape, name=name))
        output = model(*inputs(2, *shape, name=name))
        assert set(output) == {name}
        assert output[name].shape == (2, *shape)
        assert output[name].count_nonzero() == 0
        assert perturbed(model)(*inputs(2, *shape, name=name))[name].abs().mean() > 0.01


@ALL
@pytest.mark.parametrize("length", [1, 2, 3, 7, 23, 24, 25, 101])
def test_every_length_works(make: Make, shape: tuple[int, ...], length: int) -> None:
    model = perturbed(make(fields_of(*shape)))
    assert model(*inputs(2, *shape[:-1], length))["sound"].shape == (2, *shape[:-1], length)


@pytest.mark.parametrize("bins", [1, 15, 17, 40])
def test_every_number_of_bins_works(bins: int) -> None:
    model = perturbed(small_unet2d(fields_of(2, bins, 8)))
    assert model(*inputs(1, 2, bins, 8))["sound"].shape == (1, 2, bins, 8)


@ALL
def test_a_length_of_minus_one_is_any_length(make: Make, shape: tuple[int, ...]) -> None:
    model = make(fields_of(*shape[:-1], -1))
    assert model(*inputs(2, *shape))["sound"].shape == (2, *shape)


@ALL
def test_every_parameter_learns(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape)))
    model(*inputs(4, *shape))["sound"].square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


@ALL
def test_a_sound_does_not_see_its_batch(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape)))
    state, level, condition = inputs(5, *shape)
    together = model(state, level, condition)["sound"]
    alone = model(state.rows(slice(2, 3)), {"sound": level["sound"][2:3]}, condition[2:3])["sound"]
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-5)


@ALL
def test_condition_and_noise_level_are_heard(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape)))
    state, level, condition = inputs(2, *shape)
    output = model(state, level, condition)["sound"]
    assert (model(state, level, condition + 1)["sound"] - output).abs().max() > 1e-3
    assert (model(state, {"sound": level["sound"] - 1}, condition)["sound"] - output).abs().max() > 1e-3


@ALL
def test_the_beginning_is_felt_at_the_end(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape)))
    state, level, condition = inputs(1, *shape)
    x = state["sound"].requires_grad_()
    model(State({"sound": x}), level, condition)["sound"][0, 0].flatten()[-1].backward()
    assert x.grad is not None
    assert x.grad[0, 0].flatten()[0] != 0


@pytest.mark.parametrize(("make", "shape"), [(plain_unet2d, (1, 8, 96)), (small_unet1d, (1, 960))])
def test_nothing_knows_a_place_in_time(make: Make, shape: tuple[int, ...]) -> None:
    """A pattern that is moved by whole strides gives a prediction that is moved: convolutions, no positions."""
    model = perturbed(make(fields_of(*shape), attention=False)).eval()
    state, level, condition = inputs(1, *shape)
    sixth = shape[-1] // 6
    x = torch.zeros(1, *shape)
    x[..., 2 * sixth : 3 * sixth] = state["sound"][..., :sixth]
    one = model(State({"sound": x}), level, condition)["sound"]
    two = model(State({"sound": x.roll(sixth, -1)}), level, condition)["sound"]
    # The padding at the ends is felt a little in the statistics of the normalisation.
    middle = slice(3 * sixth, 4 * sixth)
    torch.testing.assert_close(one.roll(sixth, -1)[..., middle], two[..., middle], atol=2e-3, rtol=2e-3)


def test_a_transformer_knows_neighbours_but_no_place() -> None:
    """Far from the ends it does not tell where a pattern is, but the order of its tokens counts."""
    model = perturbed(small_dit1d(fields_of(1, 192))).eval()
    state, level, condition = inputs(1, 1, 192)
    x = torch.zeros(1, 1, 192)
    x[..., 64:96] = state["sound"][..., :32]
    one = model(State({"sound": x}), level, condition)["sound"]
    two = model(State({"sound": x.roll(32, -1)}), level, condition)["sound"]
    torch.testing.assert_close(one[..., 48:112], two[..., 80:144], atol=1e-4, rtol=1e-3)
    turned = x.clone()
    turned[..., 64:96] = x[..., 64:96].reshape(1, 1, -1, 2).flip(2).flatten(2)
    other = model(State({"sound": turned}), level, condition)["sound"]
    unordered = other[..., 64:96].reshape(1, 1, -1, 2).flip(2).flatten(2)
    assert (one[..., 64:96] - unordered).abs().max() > 1e-2


@pytest.mark.parametrize("make", [small_unet2d])
def test_a_bin_has_a_gain_of_its_own(make: Make) -> None:
    """The same pattern at another frequency is heard differently, unless there are no gains."""
    for bands, differs in ((4, True), (0, False)):
        model = perturbed(make(fields_of(1, 96, 8), bands=bands, attention=False, widths=[8], blocks=[1])).eval()
        state, level, condition = inputs(1, 1, 8, 8)
        x = torch.zeros(1, 1, 96, 8)
        x[:, :, 40:48] = state["sound"]
        one = model(State({"sound": x}), level, condition)["sound"]
        two = model(State({"sound": x.roll(16, 2)}), level, condition)["sound"]
        difference = (one.roll(16, 2) - two)[:, :, 40:64].detach().abs().max()
        assert (float(difference) > 1e-2) == differs


@ALL
def test_what_is_kept_is_the_noisy_sound_itself(make: Make, shape: tuple[int, ...]) -> None:
    """Half of the last layer says what is kept of each value: with all of it kept, the input comes back in place."""
    model: Any = make(fields_of(*shape))
    with torch.no_grad():
        model.out.bias[: len(model.out.bias) // 2] = 1.0
    state, level, condition = inputs(2, *shape[:-1], 23)
    assert torch.equal(model(state, level, condition)["sound"], state["sound"])


@ALL
def test_memory_order_and_compilation_do_not_change_the_result(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape)))
    state, level, condition = inputs(2, *shape)
    output = model(state, level, condition)["sound"]
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(state, level, condition)["sound"], output)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(state, level, condition)["sound"], output, atol=1e-4, rtol=1e-4)


@ALL
def test_dropout_acts_in_training_only(make: Make, shape: tuple[int, ...]) -> None:
    model = perturbed(make(fields_of(*shape), dropout=0.5))
    given = inputs(2, *shape)
    assert not torch.equal(model(*given)["sound"], model(*given)["sound"])
    model.eval()
    assert torch.equal(model(*given)["sound"], model(*given)["sound"])


@ALL
def test_several_fields_of_one_grid_are_taken_together(make: Make, shape: tuple[int, ...]) -> None:
    """A known sound beside the one that is made is heard, each at its own noise level."""
    fields = {"made": Field(shape=shape), "known": Field(shape=(3, *shape[1:]))}
    model = perturbed(make(fields))
    made, level, condition = inputs(2, *shape, name="made")
    known, known_level, _ = inputs(2, 3, *shape[1:], name="known")
    state = State({**made.fields, **known.fields})
    levels = {**level, **known_level}
    output = model(state, levels, condition)
    assert {name: value.shape for name, value in output.items()} == {name: value.shape for name, value in state.items()}
    louder = model(state.replace(known=state["known"] + 1), levels, condition)
    assert (louder["made"] - output["made"]).abs().max() > 1e-3
    clearer = model(state, {**levels, "known": levels["known"] + 1}, condition)
    assert (clearer["made"] - output["made"]).abs().max() > 1e-3


@ALL
def test_a_level_for_each_moment_is_refused(make: Make, shape: tuple[int, ...]) -> None:
    state, _, condition = inputs(2, *shape)
    with pytest.raises(ValueError, match="one for each sound"):
        make(fields_of(*shape))(state, {"sound": torch.zeros(2, 8)}, condition)


@pytest.mark.parametrize(
    ("make", "fields", "words"),
    [
        (small_unet2d, fields_of(1, 64), ["unet2d", "[channels, frequency, time]", "[1, 64]"]),
        (small_unet1d, fields_of(2, 16, 24), ["unet1d", "[channels, time]", "[2, 16, 24]"]),
        (small_dit1d, fields_of(100), ["dit1d", "[100]"]),
        (
            small_unet2d,
            {**fields_of(2, 16, 24), **fields_of(2, 8, 24, name="low")},
            ["sound [2, 16, 24], low [2, 8, 24]"],
        ),
        (small_unet2d, {}, ["none"]),
        (small_unet2d, fields_of(2, -1, 24), ["[2, -1, 24]"]),
    ],
)
def test_fields_that_do_not_fit_are_refused_in_one_line(make: Make, fields: dict[str, Field], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        make(fields)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("make", "shape", "settings", "key"),
    [
        (small_unet2d, PLANE, {"widths": [8, 20]}, r"backbone.widths=\[8, 20\]"),
        (small_unet2d, PLANE, {"blocks": [1]}, r"backbone.blocks=\[1\]"),
        (small_unet2d, PLANE, {"bands": 3}, "backbone.bands=3"),
        (small_unet1d, LINE, {"widths": [12, 16]}, r"backbone.widths=\[12, 16\]"),
        (small_unet1d, LINE, {"strides": [4]}, r"backbone.strides=\[4\]"),
        (small_dit1d, LINE, {"width": 33}, "backbone.width=33"),
        (small_dit1d, LINE, {"reach": 4}, "backbone.reach=4"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    make: Make, shape: tuple[int, ...], settings: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        make(fields_of(*shape), **settings)


def test_what_is_filled_in_mirrors_what_is_there() -> None:
    x = torch.arange(5.0).expand(1, 1, 5)
    assert fill(x, (4,))[0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert fill(x, (5,)) is x
    assert fill(x[..., :2], (4,))[0, 0].tolist() == [0, 1, 1, 1]
    plane = torch.arange(6.0).reshape(1, 1, 3, 2)
    assert fill(plane, (2, 1))[0, 0].tolist() == [[0, 1], [2, 3], [4, 5], [2, 3]]
    assert fill(plane, (1, 3)).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("width", [8, 16, 24, 32, 48, 56, 72, 96, 128])
def test_heads_divide_the_width(width: int) -> None:
    assert width % heads(width) == 0
    assert 8 <= width // heads(width) <= 32


def test_the_default_has_half_a_million_parameters() -> None:
    count = sum(p.numel() for p in UNet2D({"spectrogram": Field(shape=(2, 64, 80))}).parameters())
    assert 0.4e6 < count < 0.6e6
