"""The frozen motion network made fast: batch norms folded into convolutions, and oneDNN's kernels called straight.

A folded norm scales the kernel of the convolution before it. On a CPU the convolution, its bias and the activation
after it then are one pass over memory, and its kernel lies packed as oneDNN reads it. Nothing is approximated: the
numbers differ from those of the plain network by the rounding of float32.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moclip.errors import ModelError

# oneDNN's names of the activations that it applies within a convolution, and their bounds.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.SiLU: ("swish", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
# How far a folded network may be from the plain one, as a share of its largest output.
_MAX_ERROR = 1e-4


class PackedConv(nn.Module):
    """A convolution, its bias and its activation as one oneDNN call; (N, C, H, W) float32 to (N, D, h, w)."""

    def __init__(self, conv: nn.Conv2d, *, activation: nn.Module, input_shape: Sequence[int]) -> None:
        super().__init__()
        self._activation = _ACTIVATIONS[type(activation)]
        self._geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._bias = conv.bias
        # Packed for inputs of this shape; inputs of another one give the same numbers.
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *self._geometry, list(input_shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activation of the convolution."""
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            inputs, self._weight, self._bias, *self._geometry, *self._activation, ""
        )
        return output


def fold_network(backbone: nn.Module, *, example: Tensor, pack: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a frozen copy of a backbone in eval mode, its norms folded; packed for oneDNN where `pack` says so.

    `example` is a float32 input of the size to come, (N, 2, P, P), on the backbone's device. The copy computes in
    `dtype`.

    Raises:
        ModelError: The copy computes something else, as it would if the backbone used a convolution twice.
    """
    plain = backbone.eval()
    folded = copy.deepcopy(plain).requires_grad_(False)
    pairs = _find_pairs(folded, example=example)
    for conv, norm, _ in pairs:
        _fold(conv, norm)
        _replace(folded, norm, with_=_activation_of(norm))
    _check_equal(plain, folded, example=example)
    folded.to(dtype)
    if pack and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for conv, norm, shape in pairs:
            _pack(folded, conv, activation=_activation_of(norm), shape=shape)
        if dtype == torch.float32:
            _check_equal(plain, folded, example=example)
    return folded


@torch.inference_mode()
def _find_pairs(model: nn.Module, *, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d, torch.Size]]:
    # Seen while the network runs, so that no order of modules is taken for granted: each norm whose input is, as an
    # object, the output of a convolution; that convolution, and the shape that it sees.
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, torch.Size]] = []
    last: list[tuple[nn.Conv2d, Tensor, torch.Size]] = []

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if type(module) is nn.Conv2d:
            last[:] = [(module, output, inputs[0].shape)]

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and last and last[0][1] is inputs[0]:
            pairs.append((last[0][0], module, last[0][2]))

    hooks = [module.register_forward_hook(after) for module in model.modules()]
    hooks += [module.register_forward_pre_hook(before) for module in model.modules()]
    model(example)
    for hook in hooks:
        hook.remove()
    return pairs


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    # In float64: the folded kernel is then the rounded true one.
    if norm.running_mean is None or norm.running_var is None:
        raise ModelError("batch norm: expected running statistics, found none; such a network cannot be frozen")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    kernel = (conv.weight.double() * scale[:, None, None, None]).float()
    conv.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last), requires_grad=False)
    conv.bias = nn.Parameter(shift.float(), requires_grad=False)


def _activation_of(norm: nn.BatchNorm2d) -> nn.Module:
    # timm's norms hold the activation that comes after them, in `act`, and a dropout that does nothing in eval mode.
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _pack(model: nn.Module, conv: nn.Conv2d, *, activation: nn.Module, shape: torch.Size) -> None:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return
    if type(activation) in _ACTIVATIONS:
        _replace(model, activation, with_=nn.Identity())
    else:
        activation = nn.Identity()
    _replace(model, conv, with_=PackedConv(conv, activation=activation, input_shape=shape))


def _replace(model: nn.Module, old: nn.Module, *, with_: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, with_)


@torch.inference_mode()
def _check_equal(plain: nn.Module, folded: nn.Module, *, example: Tensor) -> None:
    expected, found = plain(example), folded(example)
    error = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not error <= _MAX_ERROR:
        raise ModelError(f"motion network: expected the folded network to agree to {_MAX_ERROR}, found {error:.1g}")
