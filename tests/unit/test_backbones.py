"""The backbones for images: shapes, what a prediction may depend on, and the errors for images that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suffuse.errors import ConfigError
from suffuse.fields import Field
from suffuse.layers import SelfAttention, TransformerBlock
from suffuse.state import State
from suffuse_image.backbones import DiT, UNet
from suffuse_image.backbones.dit import grid_positions

Make = Callable[..., nn.Module]


def image(*shape: int, name: str = "pixels") -> dict[str, Field]:
    return {name: Field(shape=shape)}


def small_unet(fields: dict[str, Field], **settings: Any) -> UNet:
    return UNet(fields, **{"width": 16, "multipliers": [1, 2], "blocks": [1, 1], "condition_dim": 24, **settings})


def attending_unet(fields: dict[str, Field], **settings: Any) -> UNet:
    return small_unet(fields, **{"attention": [side // 2 for side in (8, 16, 28, 64)], **settings})


def folding_unet(fields: dict[str, Field], **settings: Any) -> UNet:
    return small_unet(fields, **{"patch": 2, **settings})


def small_dit(fields: dict[str, Field], **settings: Any) -> DiT:
    return DiT(fields, **{"width": 32, "depth": 2, "heads": 2, "condition_dim": 24, **settings})


ALL = pytest.mark.parametrize("make", [small_unet, attending_unet, folding_unet, small_dit])


def perturbed(model: nn.Module) -> nn.Module:
    """Away from the start, where the output is zero and most gradients are."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def inputs(*shape: int, name: str = "pixels", dim: int = 24) -> tuple[State, dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    x = torch.randn(shape)
    return State({name: x}), {name: torch.linspace(-4, 6, len(x))}, torch.randn(len(x), dim)


@ALL
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8), (3, 32, 32), (2, 28, 28)])
def test_output_has_the_shape_of_the_image_and_starts_at_zero(make: Make, shape: tuple[int, ...]) -> None:
    model = make(image(*shape))
    output = model(*inputs(2, *shape))
    assert set(output) == {"pixels"}
    assert output["pixels"].shape == (2, *shape)
    assert output["pixels"].count_nonzero() == 0
    assert perturbed(model)(*inputs(2, *shape))["pixels"].abs().mean() > 0.01


@ALL
def test_the_field_may_have_any_name(make: Make) -> None:
    model = make(image(1, 8, 8, name="mel"))
    assert set(model(*inputs(2, 1, 8, 8, name="mel"))) == {"mel"}


@ALL
def test_a_network_takes_other_sizes_than_the_one_it_was_made_for(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8)))
    assert model(*inputs(2, 1, 16, 24))["pixels"].shape == (2, 1, 16, 24)


@ALL
def test_every_parameter_learns(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8)))
    model(*inputs(4, 1, 8, 8))["pixels"].square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


@ALL
def test_an_image_does_not_see_its_batch(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8)))
    state, level, condition = inputs(5, 1, 8, 8)
    together = model(state, level, condition)["pixels"]
    alone = model(state.rows(slice(2, 3)), {"pixels": level["pixels"][2:3]}, condition[2:3])["pixels"]
    torch.testing.assert_close(together[2:3], alone, atol=1e-5, rtol=1e-5)


@ALL
def test_condition_and_noise_level_are_heard(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8)))
    state, level, condition = inputs(2, 1, 8, 8)
    output = model(state, level, condition)["pixels"]
    assert (model(state, level, condition + 1)["pixels"] - output).abs().max() > 1e-3
    assert (model(state, {"pixels": level["pixels"] - 1}, condition)["pixels"] - output).abs().max() > 1e-3


@ALL
def test_a_pixel_is_felt_at_the_other_corner(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8)))
    state, level, condition = inputs(1, 1, 8, 8)
    x = state["pixels"].requires_grad_()
    model(State({"pixels": x}), level, condition)["pixels"][0, 0, -1, -1].backward()
    assert x.grad is not None
    assert x.grad[0, 0, 0, 0] != 0


@ALL
def test_memory_order_and_compilation_do_not_change_the_result(make: Make) -> None:
    model = perturbed(make(image(3, 8, 8)))
    state, level, condition = inputs(2, 3, 8, 8)
    output = model(state, level, condition)["pixels"]
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(state, level, condition)["pixels"], output)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reordered = State({"pixels": state["pixels"].contiguous(memory_format=torch.channels_last)})
    torch.testing.assert_close(model(reordered, level, condition)["pixels"], output, atol=1e-4, rtol=1e-4)


@ALL
def test_dropout_acts_in_training_only(make: Make) -> None:
    model = perturbed(make(image(1, 8, 8), dropout=0.5))
    given = inputs(2, 1, 8, 8)
    assert not torch.equal(model(*given)["pixels"], model(*given)["pixels"])
    model.eval()
    assert torch.equal(model(*given)["pixels"], model(*given)["pixels"])


@ALL
def test_a_level_for_each_pixel_is_refused(make: Make) -> None:
    state, _, condition = inputs(2, 1, 8, 8)
    with pytest.raises(ValueError, match="one for each image"):
        make(image(1, 8, 8))(state, {"pixels": torch.zeros(2, 8, 8)}, condition)


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (small_unet, (1, 9, 8), ["9x8", "multiples of 2", "backbone.multipliers"]),
        (folding_unet, (1, 30, 30), ["30x30", "multiples of 4", "backbone.patch"]),
        (small_dit, (1, 7, 7), ["7x7", "multiples of 2", "backbone.patch"]),
        (small_dit, (100,), ["[channels, height, width]", "[100]"]),
        (small_unet, (1, -1, -1), ["[channels, height, width]", "[1, -1, -1]"]),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(make: Make, shape: tuple[int, ...], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        make(image(*shape))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@ALL
def test_images_that_do_not_fit_are_refused_at_the_call(make: Make) -> None:
    with pytest.raises(ValueError, match="multiples of"):
        make(image(1, 8, 8))(*inputs(1, 1, 8, 9))


@ALL
def test_several_fields_are_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="left, right"):
        make({**image(1, 8, 8, name="left"), **image(1, 8, 8, name="right")})


@pytest.mark.parametrize(
    ("make", "settings", "key"),
    [
        (small_unet, {"width": 20}, "backbone.width=20"),
        (small_unet, {"blocks": [1]}, r"backbone.blocks=\[1\]"),
        (small_dit, {"width": 30}, "backbone.width=30"),
        (small_dit, {"heads": 5}, "backbone.heads=5"),
    ],
)
def test_settings_that_do_not_fit_are_named(make: Make, settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make(image(1, 8, 8), **settings)


def test_attention_is_where_it_was_asked_for() -> None:
    def attentions(*sides: int) -> int:
        model = small_unet(image(1, 16, 12), attention=list(sides))
        return sum(isinstance(module, SelfAttention) for module in model.modules())

    assert attentions() == attentions(12, 6) == 0
    assert attentions(8) == 1
    assert attentions(16) == 2
    assert attentions(16, 8, 4) == 3


def test_attention_does_not_see_padding() -> None:
    torch.manual_seed(0)
    block = perturbed(TransformerBlock(16, 2, 8))
    x, embedding = torch.randn(2, 5, 16), torch.randn(2, 8)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    output = block(x, embedding, mask)
    torch.testing.assert_close(output[:1, :3], block(x[:1, :3], embedding[:1]), atol=1e-5, rtol=1e-5)
    assert (block(x, embedding)[0, :3] - output[0, :3]).abs().max() > 1e-3


def test_attention_alone_knows_no_order() -> None:
    torch.manual_seed(0)
    block = perturbed(TransformerBlock(16, 2, 8))
    x, embedding, order = torch.randn(1, 6, 16), torch.randn(1, 8), torch.randperm(6)
    torch.testing.assert_close(block(x[:, order], embedding), block(x, embedding)[:, order], atol=1e-5, rtol=1e-5)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="5 heads"):
        SelfAttention(16, 5)


def test_positions_differ_and_a_larger_grid_continues_a_smaller_one() -> None:
    small, large = grid_positions(4, 6, 32), grid_positions(8, 10, 32)
    assert torch.pdist(small).min() > 0.1
    torch.testing.assert_close(large.view(8, 10, 32)[2:6, 2:8].flatten(0, 1), small)
