"""How fast heads train: one run against its bare matrix products and a DataLoader loop, eight seeds against eight jobs.

    python benchmarks/head_training.py [--epochs 10] [--repeats 3] [--threads 1] [--jobs]

Random embeddings of UCF101's size (9,537 x 1,792, 101 classes, batch 64): time does not depend on what they say. An
epoch costs the same as any other, so that ratios of a few epochs are those of a hundred. Times are of the processor,
all threads of the process together: with one thread that is the wall time of an idle machine, and other jobs disturb it
little. The median over repeats, the three forms taken in turn.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Fold, Layout
from moclip.training.head_strategy import find_strategy
from moclip.training.head_training import train_head

NUM_VIDEOS, NUM_INPUTS, NUM_CLASSES, BATCH, HIDDEN = 9537, 1792, 101, 64, 512
NUM_SEEDS = 8
NOTHING = Fold(inputs=np.zeros((0, NUM_INPUTS), np.float32), labels=np.zeros(0, np.int64))


def make_fold() -> Fold:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(NUM_VIDEOS, NUM_INPUTS)).astype(np.float32)
    return Fold(inputs=inputs, labels=rng.integers(0, NUM_CLASSES, NUM_VIDEOS))


def run_head(fold: Fold, *, epochs: int, threads: int, seed: int = 0) -> None:
    config = HeadConfig(epochs=epochs, select="last")
    train_head(fold, NOTHING, num_classes=NUM_CLASSES, config=config, seed=seed, threads=threads)


def run_products(fold: Fold, *, epochs: int, threads: int) -> None:
    """The five products of a step and nothing else: two forward, two for the weights, one for the hidden layer."""
    torch.set_num_threads(threads)
    inputs = torch.from_numpy(fold.inputs)
    first, second = torch.randn(HIDDEN, NUM_INPUTS), torch.randn(NUM_CLASSES, HIDDEN)
    for _ in range(epochs):
        for batch in torch.split(inputs, BATCH):
            hidden = batch @ first.T
            logits = hidden @ second.T
            logits.T @ hidden
            back = logits @ second
            back.T @ batch


def run_data_loader(fold: Fold, *, epochs: int, threads: int) -> None:
    """The loop that comes to mind first: a DataLoader over the same tensors, AdamW as it is by default."""
    torch.set_num_threads(threads)
    data = TensorDataset(torch.from_numpy(fold.inputs), torch.from_numpy(fold.labels))
    head = find_strategy("mlp").build(Layout(appearance=NUM_INPUTS), num_classes=NUM_CLASSES, config=HeadConfig())
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-4)
    for _ in range(epochs):
        for inputs, labels in DataLoader(data, batch_size=BATCH, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(inputs), labels).backward()
            optimizer.step()


def seconds_of(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def time_jobs(*, epochs: int, threads: int) -> None:
    """Print eight seeds in one process against eight processes one after another, start-ups left out of the latter."""
    fold = make_fold()

    def train_all() -> None:
        for seed in range(NUM_SEEDS):
            run_head(fold, epochs=epochs, threads=threads, seed=seed)

    together = seconds_of(train_all)
    own = [
        float(
            subprocess.run(
                [sys.executable, __file__, "--one-job", str(seed), "--epochs", str(epochs), "--threads", str(threads)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for seed in range(NUM_SEEDS)
    ]
    print(
        f"{NUM_SEEDS} seeds, {epochs} epochs: one job {together:.1f} s, {NUM_SEEDS} jobs less start-up {sum(own):.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", action="store_true", help="time eight seeds in one job too")
    parser.add_argument("--one-job", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    fold = make_fold()
    if options.one_job is not None:
        print(seconds_of(lambda: run_head(fold, epochs=options.epochs, threads=options.threads, seed=options.one_job)))
        return
    forms = {"head": run_head, "products": run_products, "data loader": run_data_loader}
    times: dict[str, list[float]] = {name: [] for name in forms}
    run_head(Fold(inputs=fold.inputs[:64], labels=fold.labels[:64]), epochs=1, threads=1)  # what torch loads late
    for _ in range(options.repeats):
        for name, run in forms.items():
            each = seconds_of(lambda run=run: run(fold, epochs=options.epochs, threads=options.threads))
            times[name].append(each / options.epochs)
    middle = {name: statistics.median(values) for name, values in times.items()}
    print(*(f"{name} {value:.2f} s an epoch" for name, value in middle.items()), sep=", ")
    print(f"head / products {middle['head'] / middle['products']:.2f} (bar 2.1)")
    print(f"data loader / head {middle['data loader'] / middle['head']:.2f} (bar 1.4)")
    if options.jobs:
        time_jobs(epochs=options.epochs, threads=options.threads)


if __name__ == "__main__":
    main()
