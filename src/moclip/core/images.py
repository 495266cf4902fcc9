"""Encode pictures as PNG, JPEG and WebP, and resize them."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_QUALITY = 88

_WEBP_QUALITY = 40


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the PNG of a uint8 picture, (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA; nothing is lost."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def png_uri(image: NDArray[np.uint8]) -> str:
    """Return a picture as the address of a PNG that a page carries in itself."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode('ascii')}"


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """Return a (h, w, 3) uint8 photograph as the address of a JPEG that a page carries in itself, a tenth of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def webp_uri(images: Sequence[NDArray[np.uint8]], *, milliseconds: int) -> str:
    """Return (h, w, 3) uint8 pictures of one size as the address of a WebP loop, each shown for some milliseconds."""
    file = io.BytesIO()
    first, *others = [Image.fromarray(np.ascontiguousarray(image)) for image in images]
    first.save(file, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=_WEBP_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def resize_image(image: NDArray[np.uint8], *, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return a (h, w, 3) uint8 picture at another size, smooth either way; the same one where the size is the same."""
    if image.shape[:2] == (height_px, width_px):
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((width_px, height_px), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.uint8)
