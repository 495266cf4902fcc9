"""How fast a frozen motion network embeds crops, in every form that was tried, against the plain network of torch.

    python benchmarks/motion_network_embedding.py [--threads 1] [--crops 25] [--compile] [--bf16] [--device cpu]

EfficientNet-B0 with a stem of 2 channels, 224 px, random weights and lively norms. The plain network is float32 in
torch's default layout (NCHW), all crops at once. Every form computes the same crops in every round, one form after the
other, so that a busy machine slows them alike; the fastest round of each counts. `error` is the largest difference to
the plain network, as a share of its largest output. With one thread the clock is processor time, which neighbours
disturb least. `ours` is what the workflow runs; the others say where its speed comes from.
"""

import argparse
import copy
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from moclip.encoders.fusion import fuse_conv_bn
from moclip.encoders.motion_embedding import build_embed
from moclip.encoders.motion_input import decode_crops
from moclip.encoders.motion_network import MotionNetwork, build_network
from moclip.encoders.runtime import prepare_torch

PX = 224
# Multiply-adds of EfficientNet-B0 over one crop of 2 channels.
GMACS = 0.381


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--crops", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which needs a C++ compiler")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    prepare_torch(threads=options.threads)
    network = lively_network()
    codes = torch.randint(0, 256, (options.crops, 2, PX, PX), dtype=torch.uint8)
    forms = list_forms(network, options=options)
    with torch.inference_mode():
        compare(forms, codes, options=options)


def lively_network() -> MotionNetwork:
    torch.manual_seed(0)
    network = build_network("efficientnet_b0", weights="none", num_classes=101, dropout=0.5).eval()
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return network


def list_forms(network: MotionNetwork, *, options: argparse.Namespace) -> dict[str, Callable[[Tensor], Tensor]]:
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format).to(options.device)
    example = network.input_norm(torch.zeros(5, 2, PX, PX)).contiguous(memory_format=torch.channels_last)
    fused = copy.deepcopy(network.backbone)
    fuse_conv_bn(fused, run=lambda: fused(example), tolerance=1e-4)

    def see(codes: Tensor) -> Tensor:
        return network.input_norm(decode_crops(codes)).contiguous(memory_format=torch.channels_last)

    forms: dict[str, Callable[[Tensor], Tensor]] = {
        "plain": lambda codes: plain.backbone(plain.input_norm(decode_crops(codes.to(options.device)))).cpu()
    }
    if options.device == "cpu":
        forms |= {
            "channels_last": lambda codes: network.backbone(see(codes)),
            "+ norms folded": lambda codes: fused(see(codes)),
        }
    forms["ours: + 5 crops at a time"] = embed_of(network, options=options)
    if options.bf16:
        forms["ours in bf16"] = embed_of(network, options=options, precision="bf16")
    if options.device == "cpu" and find_spec("openvino"):
        forms["ours on openvino"] = embed_of(network, options=options, backend="openvino")
        if options.bf16:
            forms["ours on openvino in bf16"] = embed_of(network, options=options, backend="openvino", precision="bf16")
    if options.compile:
        compiled = torch.compile(fused)
        forms["torch.compile of the fused"] = lambda codes: compiled(see(codes))
    return forms


def embed_of(
    network: MotionNetwork, *, options: argparse.Namespace, backend: str = "torch", precision: str = "fp32"
) -> Callable[[Tensor], Tensor]:
    test = {"backend": backend, "precision": precision}
    variant = {"input_px": PX, "threads": options.threads, "device": options.device, "embedding": test}
    return build_embed(copy.deepcopy(network), variant=variant)


def compare(forms: dict[str, Callable[[Tensor], Tensor]], codes: Tensor, *, options: argparse.Namespace) -> None:
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    first: dict[str, float] = {}
    outputs: dict[str, Tensor] = {}
    for name, form in forms.items():
        start = time.perf_counter()
        outputs[name] = form(codes)
        first[name] = time.perf_counter() - start
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(options.rounds):
        for name, form in forms.items():
            start = clock()
            form(codes)
            best[name] = min(best[name], clock() - start)
    expected = outputs["plain"]
    print(f"{'':30}{'crops/s':>9}{'x plain':>9}{'GFLOP/s':>9}{'error':>10}{'first run, s':>14}")
    for name, seconds in best.items():
        rate = len(codes) / seconds
        error = float((outputs[name] - expected).abs().max() / expected.abs().max())
        times = best["plain"] / seconds
        print(f"{name:30}{rate:9.1f}{times:9.2f}{2 * GMACS * rate:9.0f}{error:10.1e}{first[name]:14.1f}")
    if options.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
