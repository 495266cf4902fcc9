"""Conv-bn fusion for frozen networks."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moclip.errors import ModelError


def fuse_conv_bn(model: nn.Module, *, run: Callable[[], Tensor], tolerance: float, advice: str = "") -> None:
    """Fold each batch norm of a frozen model into the convolution before it, in place.

    Args:
        model: A model in eval mode.
        run: Computes an example by the model, once. A norm is folded if its input is the output of a convolution that
            is called once.
        tolerance: Accepted difference between the outputs before and after, as a share of their length.
        advice: The end of the error message.

    Raises:
        ModelError: The fused model computes something else.
    """
    with torch.no_grad():
        pairs, expected = _find_pairs(model, run=run)
        for conv, norm in pairs.items():
            before, after = cast(nn.Conv2d, model.get_submodule(conv)), cast(nn.BatchNorm2d, model.get_submodule(norm))
            model.set_submodule(conv, fuse_conv_bn_eval(before, after))
            model.set_submodule(norm, _activation_of(after))
        check_same(run(), expected, tolerance=tolerance, what="conv-bn fusion", advice=advice)


def check_same(found: Tensor, expected: Tensor, *, tolerance: float, what: str, advice: str = "") -> None:
    """Raise ModelError if embeddings differ from the expected ones by more than a share of their length.

    Weights that overflow are reported where pictures are encoded, so expected embeddings that are not finite pass.
    """
    error = float((found.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-12))
    if bool(expected.isfinite().all()) and not error <= tolerance:
        raise ModelError(
            f"{what}: expected the model's own embeddings to {tolerance:g} of their length, found {error:.2g}{advice}"
        )


def _find_pairs(model: nn.Module, *, run: Callable[[], Tensor]) -> tuple[dict[str, str], Tensor]:
    """Return the name of the norm after each convolution that can be folded, and the output of the run."""
    calls: dict[str, int] = {}
    outputs: dict[str, Tensor] = {}
    found: dict[str, str] = {}

    def observe(name: str) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                outputs[name] = result
            elif isinstance(module, nn.BatchNorm2d):
                found.update({conv: name for conv, output in outputs.items() if output is args[0]})

        return after

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                hooks.callback(module.register_forward_hook(observe(name)).remove)
        result = run()
    return {conv: norm for conv, norm in found.items() if calls[conv] == calls[norm] == 1}, result


def _activation_of(norm: nn.Module) -> nn.Module:
    # The batch norms of timm contain the activation that follows.
    inside = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    return nn.Sequential(*inside) if inside else nn.Identity()
