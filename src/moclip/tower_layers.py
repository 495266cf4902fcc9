"""Layers of a frozen image tower made ready for a CPU: packed matrices, attention written out, batch norms folded.

Nothing here knows a model by name. The tower runs once on an example and hooks see which layer feeds which; only what
was seen is exchanged, so that a tower that uses the weights of a layer without calling it keeps that layer.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_mkldnn: Any = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """A linear layer whose matrix lies in the order that oneDNN multiplies in; the GELU after it may be its last step.

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
