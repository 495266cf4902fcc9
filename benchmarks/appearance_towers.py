"""Images a second of every backend of the appearance stage, against the plain loop `model.encode_image`.

    python benchmarks/appearance_towers.py [MODEL ...] [--batch-size 32] [--repeats 5] [--threads 1] [--device cuda]

A MODEL is an open_clip name, computed with random weights, or `local-dir:PATH`; without any, ViT-B-32. `loop` is
open_clip's own model in fp32, as it is, on pictures already prepared. On a processor times are processor seconds times
threads, medians of interleaved repeats, so that other work on the machine counts little; on a GPU they are wall time.

`error` is the greatest distance to the loop's embeddings, as a share of their length; `cosine` the smallest. `limit` is
what the loop could reach if it were nothing but matrix products at the rate that torch's own reach here, measured in
the same run: no exact fp32 backend on the same units can pass it by much.
"""

import argparse
import importlib.util
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from moclip.config.settings import AppearanceVariant
from moclip.encoders.clip import load_encoder
from moclip.encoders.spec import local_weights

Run = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["ViT-B-32"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for model in options.models:
        measure(model, options=options)


def measure(model: str, *, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (256, 320, 3), dtype=np.uint8) for _ in range(options.batch_size)]
    plain = load_encoder(spec_of(model, options=options, backend="eager"))
    plain.model.visual.to(memory_format=torch.contiguous_format)
    prepared = plain.prepare_images(pictures)
    on_device = torch.from_numpy(prepared).to(plain.device)

    def loop() -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(plain.model.encode_image(on_device).cpu().numpy())

    runs: dict[str, Run] = {"loop": loop}
    for backend, precision in cases(options.device):
        encoder = load_encoder(spec_of(model, options=options, backend=backend, precision=precision))
        runs[f"{backend} {precision}"] = lambda encoder=encoder: encoder.tower.start(prepared)()
    expected = loop()
    torch.backends.mha.set_fastpath_enabled(False)  # whose products are not counted
    with FlopCounterMode(display=False) as counter:
        loop()
    torch.backends.mha.set_fastpath_enabled(True)
    flops = counter.get_total_flops() / options.batch_size
    print(f"\n{model}, batch {options.batch_size}, {options.threads} threads, {flops / 1e9:.1f} GFLOP an image")
    print(f"{'':16}  images/s  of loop     error    cosine")
    rates = interleave(runs, options=options)
    for name, rate in rates.items():
        found = runs[name]()
        error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        ratio = rate / rates["loop"]
        print(f"{name:16} {rate:9.2f} {ratio:8.2f} {error.max():9.1e} {cosines.min():9.6f}", flush=True)
    if options.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        limit = matrix_rate(dtype, options=options) / flops
        print(f"limit {name:10} {limit:9.2f} {limit / rates['loop']:8.2f}")


def spec_of(model: str, *, options: argparse.Namespace, **others: Any) -> AppearanceVariant:
    spec = AppearanceVariant(model=model, device=options.device, threads=options.threads, **others)
    untrained = not model.startswith("local-dir:") or local_weights(spec) is None
    return spec.model_copy(update={"untrained": untrained})


def cases(device: str) -> list[tuple[str, str]]:
    if device == "cuda":
        return [("torch", "fp32"), ("torch", "bf16"), ("torch", "fp16")]
    found = [("torch", "fp32"), ("torch", "bf16")]
    if importlib.util.find_spec("openvino"):
        found += [("openvino", "fp32"), ("openvino", "bf16")]
    return found


def interleave(runs: dict[str, Run], *, options: argparse.Namespace) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(options.repeats + 1):
        for name, run in runs.items():
            seconds = timed(run, options=options)
            if repeat:  # the first warms up
                times[name].append(seconds)
    return {name: options.batch_size / float(np.median(found)) for name, found in times.items()}


def timed(run: Run, *, options: argparse.Namespace) -> float:
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    if options.device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if options.device == "cuda":
        torch.cuda.synchronize()
        return clock() - start
    return (clock() - start) / options.threads


def matrix_rate(dtype: torch.dtype, *, options: argparse.Namespace) -> float:
    """FLOP a second of a matrix product as large as the inner layer of ViT-B-32."""
    height, inner, width = 50 * options.batch_size, 768, 3072
    one = torch.randn(height, inner, device=options.device, dtype=dtype)
    other = torch.randn(inner, width, device=options.device, dtype=dtype)
    times = []
    with torch.inference_mode():
        for _ in range(options.repeats + 1):
            times.append(timed(lambda: [one @ other for _ in range(10)], options=options))
    return 10 * 2 * height * inner * width / float(np.median(times[1:]))


if __name__ == "__main__":
    main()
