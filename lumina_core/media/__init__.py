"""Videos, images and their frames: reading, writing and measuring."""

from .writer import write_image, write_video

__all__ = ["write_image", "write_video"]
