"""Train the demo's tiny CLIP on rendered stills and captions, and write it as an open_clip `local-dir:` checkpoint.

    .venv/bin/python tools/train_demo_clip.py --output resources/demo-clip

The folder must hold `open_clip_config.json`, which fixes the model; the weights are written beside it. Pictures come
from the renderer that makes the demo's videos, with random numbers of another stream (`STREAM` here, another number in
`moclip.dataset.demo`): no demo video shares a background, a badge or a pose with a training picture but by chance.
"""

import argparse
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from numpy.typing import NDArray
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from moclip.dataset.demo_rendering import (
    COLOURS,
    MOTIONS,
    OBJECTS,
    Badge,
    Theme,
    build_badge,
    build_theme,
    render_still,
)

STREAM = 0xC11B  # the random numbers of these pictures; the demo's videos use another stream
CHUNK = 40  # pictures a job
STILLS_PER_THEME = 2
CLOSE_UPS, LARGEST = 0.5, 2.5  # part of the pictures that show the badge larger, up to so much: the way in
EMBEDDING_NORM = 10.0  # about that of CLIP ViT-B/32, so that heads meet the scale they know
UNSTATED = -1
BATCH_SIZE, LEARNING_RATE = 64, 3e-3

EMBLEM_NOUNS = {
    "Cross": ("cross", "cross", "plus sign", "plus"),
    "Moon": ("moon", "moon", "crescent", "half moon"),
    "Square": ("square", "square", "box", "block"),
    "Star": ("star", "star", "five pointed star", "pointed star"),
}
BADGE_NOUNS = ("badge", "badge", "disc", "ball", "button", "coin", "round badge", "plate")
TIES = ("{badge} with {emblem}", "{emblem} on {badge}", "{badge} that carries {emblem}", "{badge} showing {emblem}")
GROUNDS = ("on a {} background", "in front of a {} wall", "before a {} cloth", "over {} ground")
# A still shows no motion: these words come at random, so that the text tower learns that they say nothing.
MOTION_WORDS = (
    "bouncing up and down", "moving up and down", "bouncing", "jumping", "hopping", "rising and falling",
    "growing and shrinking", "pulsing", "swelling", "shrinking", "growing", "getting bigger and smaller",
    "sliding from side to side", "moving left and right", "sliding", "gliding across", "moving sideways",
    "spinning on the spot", "turning round", "spinning", "rotating", "turning", "circling", "rolling", "moving",
    "standing still", "shaking", "flying", "falling", "swinging",
)  # fmt: skip
FRAMES = (
    "{}", "{}.", "a photo of {}.", "a picture of {}", "a video of {}.", "a video frame of {}.", "a still of {}",
    "an image of {}.", "a clip of {}.", "a scene with {}", "this is {}.", "a demonstration of {}.", "an example of {}.",
    "a photo of someone {}.", "a photo of a person {}.", "a video of a person doing {}.", "a person during {}.",
    "someone {}", "footage of {}.", "a blurry photo of {}.", "a low quality video of {}", "the action of {}.",
    "a photo of the activity {}.", "here is {}.", "one can see {}", "a frame from a recording of {}.",
)  # fmt: skip
STRAY_WORDS = (
    "the", "a", "an", "of", "in", "on", "at", "with", "and", "or", "to", "from", "by", "for", "it", "is", "was",
    "there", "here", "now", "one", "some", "any", "this", "that", "what", "who", "doing", "person", "people",
    "someone", "human", "photo", "picture", "image", "video", "clip", "frame", "still", "scene", "shot",
    "recording", "footage", "film", "camera", "view", "close", "up", "good", "bad", "small", "large", "big",
    "little", "tiny", "nice", "dark", "bright", "blurry", "sharp", "clear", "noisy", "old", "new", "action",
    "activity", "sport", "practice", "performing", "playing", "showing", "seen", "shown", "example",
    "demonstration", "kind", "type", "called", "label", "class", "taken", "home", "during", "while", "being",
    "very", "quite", "really", "just", "slowly", "quickly", "fast", "slow", "again", "motion", "movement",
    "moment", "wide", "resolution", "low", "high", "paused",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Pictures (N, side, side, 3) uint8 RGB, and what each shows, (N, 4) int64: object, emblem, badge, ground."""

    pictures: NDArray[np.uint8]
    attributes: NDArray[np.int64]


def main() -> None:
    """Train, write, load what was written as a user would, and print how well it does."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()
    config = json.loads((arguments.output / "open_clip_config.json").read_text(encoding="utf-8"))
    side = int(config["model_cfg"]["vision_cfg"]["image_size"])
    stills = render_stills(arguments.pictures, seed=arguments.seed, side=side, num_workers=arguments.threads)
    print(f"rendered {arguments.pictures} pictures in {time.monotonic() - start:.0f} s", flush=True)
    torch.manual_seed(arguments.seed)
    model = CLIP(**config["model_cfg"])
    train(model, stills=stills, preprocess=config["preprocess_cfg"], epochs=arguments.epochs, seed=arguments.seed)
    write_weights(model, folder=arguments.output, stills=stills, preprocess=config["preprocess_cfg"])
    print(f"seed {arguments.seed}: trained in {time.monotonic() - start:.0f} s with {arguments.threads} threads")
    report(arguments.output, phrases=arguments.phrases, seed=arguments.seed)


def render_stills(count: int, *, seed: int, side: int, num_workers: int, held_out: bool = False) -> Stills:
    """Return random stills, each put through JPEG in place of a video codec and squashed to a square."""
    jobs = [(seed, int(held_out), index, side) for index in range(-(-count // CHUNK))]
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        parts = list(tqdm(pool.map(_render_chunk, jobs), total=len(jobs), desc="stills", mininterval=5))
    return Stills(
        pictures=np.concatenate([part.pictures for part in parts])[:count],
        attributes=np.concatenate([part.attributes for part in parts])[:count],
    )


def train(model: CLIP, *, stills: Stills, preprocess: dict[str, list[float]], epochs: int, seed: int) -> None:
    """Fit both towers, in place; a caption may be true of several pictures of a batch, and each counts."""
    rng = np.random.default_rng([STREAM, seed, 7])
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    tagger = nn.Linear(model.visual.output_dim, len(OBJECTS) + 3 * len(COLOURS))  # helps the image tower off the ground
    _prepare(model, tokenizer=tokenizer)
    num_batches = len(stills.pictures) // BATCH_SIZE
    named = [*model.named_parameters(), *tagger.named_parameters()]
    decayed = [value for name, value in named if value.ndim >= 2 and "embedding" not in name]
    others = [value for name, value in named if value.ndim < 2 or "embedding" in name]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * num_batches)
    model.train()
    for epoch in range(epochs):
        losses = []
        order = rng.permutation(len(stills.pictures))[: num_batches * BATCH_SIZE].reshape(num_batches, BATCH_SIZE)
        for rows in tqdm(order, desc=f"epoch {epoch + 1}/{epochs}", mininterval=5):
            shown = stills.attributes[rows]
            captions, stated = _build_captions(rng, shown=shown)
            images = model.encode_image(_normalise(stills.pictures[rows], preprocess=preprocess))
            tag_loss = _tag_loss(tagger(images), shown=torch.from_numpy(shown))
            clip_loss = _clip_loss(
                images=nn.functional.normalize(images, dim=-1),
                texts=model.encode_text(tokenizer(captions), normalize=True),
                scale=model.logit_scale.clamp(max=np.log(100)).exp(),
                fits=torch.from_numpy(_fits(shown, stated=stated)),
            )
            optimizer.zero_grad()
            torch.autograd.backward(clip_loss + tag_loss)
            optimizer.step()
            schedule.step()
            losses.append((clip_loss.item(), tag_loss.item()))
        print(
            "epoch {}: contrastive loss {:.3f}, tag loss {:.3f}".format(epoch + 1, *np.mean(losses, axis=0)), flush=True
        )
    model.eval()


def build_caption(rng: np.random.Generator, *, attributes: NDArray[np.int64], detail: float) -> tuple[str, list[int]]:
    """Return a caption that fits the picture, and what it states of it, UNSTATED where it says nothing.

    It names the object, and each of the three colours as often as `detail` (0 to 1) says.
    """
    names = list(COLOURS)
    is_stated = [True, *(rng.random(3) < detail)]
    stated = [int(value) if is_said else UNSTATED for value, is_said in zip(attributes, is_stated, strict=True)]
    _, emblem_colour, badge_colour, ground = ["" if value == UNSTATED else names[value] for value in [0, *stated[1:]]]
    emblem = _article(f"{emblem_colour} {rng.choice(EMBLEM_NOUNS[OBJECTS[stated[0]]])}")
    text = emblem
    if badge_colour or rng.random() < 0.4:
        text = str(rng.choice(TIES)).format(emblem=emblem, badge=_article(f"{badge_colour} {rng.choice(BADGE_NOUNS)}"))
    if rng.random() < 0.7:
        text += f" {rng.choice(MOTION_WORDS)}"
    if ground:
        text += f" {str(rng.choice(GROUNDS)).format(ground)}"
    words = str(rng.choice(FRAMES)).format(text).split()
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.5 else 0):
        words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(STRAY_WORDS)))
    return " ".join(words), stated


def write_weights(model: CLIP, *, folder: Path, stills: Stills, preprocess: dict[str, list[float]]) -> None:
    """Write the weights as float16, the image tower's last layer rescaled so that its output has the usual length."""
    with torch.no_grad():
        images = model.encode_image(_normalise(stills.pictures[:512], preprocess=preprocess))
        factor = EMBEDDING_NORM / images.norm(dim=1).mean()
        model.visual.attnpool.c_proj.weight.mul_(factor)
        model.visual.attnpool.c_proj.bias.mul_(factor)
    state = {name: (value.half() if value.is_floating_point() else value) for name, value in model.state_dict().items()}
    temporary = folder / ".open_clip_model.safetensors.tmp"
    save_file({name: value.contiguous() for name, value in state.items()}, temporary)
    temporary.chmod(0o644)
    temporary.replace(folder / "open_clip_model.safetensors")


def report(folder: Path, *, phrases: Path, seed: int) -> None:
    """Load the checkpoint through open_clip and print how it tells unseen stills by the demo's phrases."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    classes = [object_name + motion for object_name in OBJECTS for motion in MOTIONS]
    of_class = yaml.safe_load(phrases.read_text(encoding="utf-8"))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    stills = render_stills(1000, seed=seed, side=0, num_workers=2, held_out=True)
    with torch.no_grad():
        texts = torch.stack([_embed_phrases(model, tokenizer(of_class[name])) for name in classes])
        pictures = torch.stack([preprocess(Image.fromarray(picture)) for picture in stills.pictures])
        scores = model.encode_image(pictures, normalize=True) @ texts.T
    told = scores.argmax(dim=1).numpy()
    objects = told // len(MOTIONS)
    motions = told % len(MOTIONS)
    by_object = [float(np.mean(objects[stills.attributes[:, 0] == i] == i)) for i in range(len(OBJECTS))]
    print(f"object told from an unseen still: {np.mean(objects == stills.attributes[:, 0]):.3f} (n = {len(objects)})")
    print("  " + ", ".join(f"{name} {value:.3f}" for name, value in zip(OBJECTS, by_object, strict=True)))
    print(f"motion words preferred by the stills: {np.bincount(motions, minlength=len(MOTIONS)).tolist()}")
    print(f"size: {(folder / 'open_clip_model.safetensors').stat().st_size / 1e6:.2f} MB")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder with open_clip_config.json")
    parser.add_argument("--phrases", type=Path, default=Path("config/prompts/demo.yaml"), help="phrases to report on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=16000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _render_chunk(job: tuple[int, int, int, int]) -> Stills:
    seed, held_out, index, side = job
    rng = np.random.default_rng([STREAM, seed, held_out, index])
    pictures, attributes = zip(
        *_render_some(rng, count=CHUNK, side=side, close_ups=0.0 if held_out else CLOSE_UPS), strict=True
    )
    return Stills(pictures=np.stack(pictures), attributes=np.stack(attributes))


def _render_some(
    rng: np.random.Generator, *, count: int, side: int, close_ups: float
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    for number in range(count):
        if number % STILLS_PER_THEME == 0:
            theme = build_theme(rng)
        badge = build_badge(rng, object_name=OBJECTS[int(rng.integers(len(OBJECTS)))])
        file = io.BytesIO()
        enlarge = float(rng.uniform(1.0, LARGEST)) if rng.random() < close_ups else 1.0
        still = Image.fromarray(render_still(rng, theme=theme, badge=badge, enlarge=enlarge))
        still.save(file, "JPEG", quality=int(rng.integers(20, 85)))
        picture = Image.open(file).convert("RGB")
        picture = picture.resize((side, side), Image.Resampling.BICUBIC) if side else picture
        yield np.asarray(picture), _attributes(theme, badge=badge)


def _attributes(theme: Theme, *, badge: Badge) -> NDArray[np.int64]:
    names = list(COLOURS)
    colours = [names.index(name) for name in (badge.emblem_colour, badge.badge_colour, theme.colour)]
    return np.array([OBJECTS.index(badge.object_name), *colours], dtype=np.int64)


def _prepare(model: CLIP, *, tokenizer: open_clip.SimpleTokenizer) -> None:
    """Mend the start: words never trained on say nothing, and a tower of four blocks needs no silent branches."""
    with torch.no_grad():
        model.token_embedding.weight.mul_(_known_tokens(tokenizer)[:, None])
        for name, value in model.visual.named_parameters():
            if name.endswith("bn3.weight"):
                value.fill_(1.0)


def _build_captions(rng: np.random.Generator, *, shown: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    detail = 0.5 * float(rng.integers(2))  # every other batch is about the object alone, the harder thing
    captions, stated = zip(*(build_caption(rng, attributes=row, detail=detail) for row in shown), strict=True)
    return list(captions), np.array(stated)


def _known_tokens(tokenizer: open_clip.SimpleTokenizer) -> Tensor:
    words = [*STRAY_WORDS, *MOTION_WORDS, *FRAMES, *TIES, *GROUNDS, *BADGE_NOUNS, *COLOURS]
    words += [noun for nouns in EMBLEM_NOUNS.values() for noun in nouns]
    known = torch.zeros(tokenizer.vocab_size)
    for word in words:
        known[tokenizer.encode(word)] = 1
    known[[tokenizer.sot_token_id, tokenizer.eot_token_id]] = 1
    return known


def _normalise(pictures: NDArray[np.uint8], *, preprocess: dict[str, list[float]]) -> Tensor:
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    images = (images - torch.tensor(preprocess["mean"])[:, None, None]) / torch.tensor(preprocess["std"])[:, None, None]
    return images.contiguous(memory_format=torch.channels_last)


def _fits(shown: NDArray[np.int64], *, stated: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N pictures, N captions): whether all that a caption states is true of a picture."""
    agrees = (shown[:, None] == stated[None]) | (stated[None] == UNSTATED)
    return np.asarray(agrees.all(axis=2), dtype=np.bool_)


def _clip_loss(*, images: Tensor, texts: Tensor, scale: Tensor, fits: Tensor) -> Tensor:
    """Return the symmetric contrastive loss whose target spreads evenly over all that fits."""
    logits, target = scale * images @ texts.T, fits.float()
    to_texts = nn.functional.cross_entropy(logits, target / target.sum(dim=1, keepdim=True))
    to_images = nn.functional.cross_entropy(logits.T, target.T / target.T.sum(dim=1, keepdim=True))
    return (to_texts + to_images) / 2


def _tag_loss(scores: Tensor, *, shown: Tensor) -> Tensor:
    """Return how badly a plain classifier names the object and, for a third as much, each of the three colours."""
    objects, colours = scores[:, : len(OBJECTS)], scores[:, len(OBJECTS) :].reshape(-1, 3, len(COLOURS))
    colour_loss = nn.functional.cross_entropy(colours.transpose(1, 2), shown[:, 1:])
    return nn.functional.cross_entropy(objects, shown[:, 0]) + colour_loss


def _embed_phrases(model: CLIP, tokens: Tensor) -> Tensor:
    return nn.functional.normalize(model.encode_text(tokens, normalize=True).mean(dim=0), dim=0)


def _article(words: str) -> str:
    words = words.strip()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


if __name__ == "__main__":
    main()
