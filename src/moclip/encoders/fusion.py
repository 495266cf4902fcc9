"""Conv-bn fusion and fast CPU layers for frozen networks."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moclip.errors import ModelError

_mkldnn: Any = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """A linear layer whose matrix has the order that oneDNN multiplies in; the GELU after it may be its last step.

    MKL, which torch takes otherwise, reaches a fraction of this on CPUs that are not Intel's.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, gelu: str = "") -> None:
        """Pack `weight`, (out, in); `gelu` is empty, `none` (exact) or `tanh`."""
        super().__init__()
        self.weight = _mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self.bias = None if bias is None else bias.detach()
        self.then = ("gelu", gelu) if gelu else ("none", "")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., out) for (..., in)."""
        then, algorithm = self.then
        y: torch.Tensor = _mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], algorithm)
        return y


class PackedAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence to itself, without mask, of packed layers and torch's fused attention."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Take over the weights."""
        super().__init__()
        self.num_heads = attention.num_heads
        self.in_proj = PackedLinear(cast(torch.Tensor, attention.in_proj_weight), attention.in_proj_bias)
        self.out_proj = PackedLinear(attention.out_proj.weight, attention.out_proj.bias)

    def forward(self, query: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return (N, T, D) for (N, T, D), and None in place of the weights."""
        count, length, width = query.shape
        heads = self.in_proj(query).view(count, length, 3, self.num_heads, width // self.num_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).reshape(count, length, width)), None


@dataclass(kw_only=True)
class _Seen:
    """What one run of a tower showed: who made each tensor, and what may be exchanged."""

    calls: dict[str, int] = field(default_factory=dict)
    linears: set[str] = field(default_factory=set)
    attentions: set[str] = field(default_factory=set)
    follows: dict[str, str] = field(default_factory=dict)  # an activation or norm, and the layer before it
    made_by: dict[int, str] = field(default_factory=dict)
    kept: list[torch.Tensor] = field(default_factory=list)  # alive, or another tensor could get the same id


def prepare_layers(tower: nn.Module, *, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Exchange the layers of a tower in eval mode, in place, and return what `run` gave before.

    `run` computes the embedding of one prepared picture by the tower.
    """
    seen, before = _watch(tower, run)
    modules = dict(tower.named_modules())
    for name, source in seen.follows.items():
        if seen.calls[name] == seen.calls[source] == 1:
            _join(tower, modules, name=name, source=source, seen=seen)
    if _has_onednn():
        for name in seen.linears:
            layer = cast(nn.Linear, modules[name])
            tower.set_submodule(name, PackedLinear(layer.weight, layer.bias))
        for name in seen.attentions:
            tower.set_submodule(name, PackedAttention(cast(nn.MultiheadAttention, modules[name])))
    return before


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _join(tower: nn.Module, modules: Mapping[str, nn.Module], *, name: str, source: str, seen: _Seen) -> None:
    layer, before = modules[name], modules[source]
    if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
        tower.set_submodule(source, fuse_conv_bn_eval(before, layer))
        tower.set_submodule(name, _what_follows(layer))
    elif isinstance(layer, nn.GELU) and isinstance(before, nn.Linear) and _has_onednn():
        tower.set_submodule(source, PackedLinear(before.weight, before.bias, gelu=layer.approximate))
        tower.set_submodule(name, nn.Identity())
        seen.linears.discard(source)


def _what_follows(norm: nn.BatchNorm2d) -> nn.Module:
    # timm's batch norm has its activation inside.
    inside = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    return nn.Sequential(*inside) if inside else nn.Identity()


def _watch(tower: nn.Module, run: Callable[[], torch.Tensor]) -> tuple[_Seen, torch.Tensor]:
    seen = _Seen()
    with torch.inference_mode(), _hooks(tower, seen):
        return seen, run()


@contextmanager
def _hooks(tower: nn.Module, seen: _Seen) -> Iterator[None]:
    with ExitStack() as stack:
        for name, module in tower.named_modules():
            if name:
                handle = module.register_forward_hook(_observer(name, seen), with_kwargs=True)
                stack.callback(handle.remove)
        yield


def _observer(name: str, seen: _Seen) -> Callable[..., None]:
    def observe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        seen.calls[name] = seen.calls.get(name, 0) + 1
        if isinstance(module, nn.Linear):
            seen.linears.add(name)
        elif isinstance(module, nn.MultiheadAttention) and _is_plain(module, args, kwargs):
            seen.attentions.add(name)
        elif isinstance(module, nn.BatchNorm2d | nn.GELU) and args and id(args[0]) in seen.made_by:
            seen.follows[name] = seen.made_by[id(args[0])]
        if isinstance(module, nn.Linear | nn.Conv2d):
            seen.made_by[id(result)] = name
            seen.kept.append(result)

    return observe


def _is_plain(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    of_itself = len(args) == 3 and args[0] is args[1] is args[2]
    masked = kwargs.get("attn_mask") is not None or kwargs.get("key_padding_mask") is not None
    extras = module.bias_k is not None or module.add_zero_attn or module.in_proj_weight is None
    return of_itself and module.batch_first and not masked and not extras and not kwargs.get("need_weights", True)


# oneDNN's names of the activations that it applies within a convolution, and their bounds.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.Identity: ("none", []),
    nn.SiLU: ("swish", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}

# The parts of timm's SqueezeExcite, in order.
_GATE_PARTS = ("conv_reduce", "act1", "conv_expand", "gate")

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


class GateInPlace(nn.Module):
    """Squeeze and excitation that scales its input in place, which spares a picture's worth of memory traffic."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self._gate = nn.Sequential(*(plain.get_submodule(name) for name in _GATE_PARTS))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the input, (N, C, H, W), each channel of it scaled."""
        return inputs.mul_(self._gate(inputs.mean((2, 3), keepdim=True)))


def fold_network(backbone: nn.Module, *, example: Tensor, pack: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a frozen copy of a backbone in eval mode, its norms folded; packed for oneDNN where `pack` says so.

    `example` is a float32 input of the size to come, (N, 2, P, P), on the backbone's device. The copy computes in
    `dtype`.

    Raises:
        ModelError: The copy computes something else, as it would if the backbone used a convolution twice, or the input
            of a gate again.
    """
    plain = backbone.eval()
    folded = copy.deepcopy(plain).requires_grad_(False)
    pairs = _find_pairs(folded, example=example)
    for conv, norm, _ in pairs:
        _fold(conv, norm)
        _replace(folded, norm, with_=_activation_of(norm))
    for module in [module for module in folded.modules() if type(module).__name__ == "SqueezeExcite"]:
        _replace(folded, module, with_=GateInPlace(module))
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
