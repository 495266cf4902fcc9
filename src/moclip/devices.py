"""What the machine offers, told without loading a package that would use it."""

from pathlib import Path


def has_gpu() -> bool:
    """Return whether the operating system shows an NVIDIA GPU, bare or through WSL; torch may still refuse it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
