"""Images as untrusted files: opened by what they hold, within a number of pixels. Torch-free; needs Pillow."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 50_000_000
FORMATS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "AVIF": "avif",
}
"""What is read, with the ending of its file (MPO: a JPEG with further pictures behind it, as telephones make them);
formats that can call other programs are not among them."""
_MOST_SCANS = 200
"""Of a progressive JPEG: each is a pass over all pixels, and a few bytes are enough for one."""
_OPENING = threading.Lock()


class NotAPictureError(ValueError):
    """Content that is no image of a known format, is damaged, or is too large."""

    def __init__(self, message: str, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def need_images_extra() -> None:
    """UsageError unless httpx and Pillow are installed."""
    try:
        import httpx
        import PIL
    except ImportError as error:
        raise UsageError(
            f"images need {error.name}, which is not installed: pip install 'mrhp-bench[images]'"
        ) from None
    assert httpx
    assert PIL


def open_picture(content: bytes, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The first frame, decoded to its end. NotAPictureError if that cannot be done, before anything is decoded
    if the header promises more than `most_pixels`."""
    from PIL import Image

    try:
        # Pillow's own limit warns and raises at numbers of its own; a header takes no memory
        with _OPENING:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(io.BytesIO(content), formats=_readable())
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        width, height = picture.size
        if width * height > most_pixels:
            raise NotAPictureError(f"{width:,} x {height:,} pixels; at most {most_pixels:,} are read", True)
        if min(width, height) == 0:
            raise NotAPictureError("an image without pixels")
        if content[:2] == b"\xff\xd8" and content.count(b"\xff\xda") > _MOST_SCANS:
            raise NotAPictureError(f"a JPEG of more than {_MOST_SCANS} scans")
        picture.load()
    except NotAPictureError:
        raise
    except MemoryError:
        raise NotAPictureError("asks for more memory than there is", True) from None
    except Exception as error:  # decoders of damaged files raise nearly everything
        raise NotAPictureError(f"{type(error).__name__}: {str(error)[:200]}") from None
    return picture


def _readable() -> list[str]:
    """Of FORMATS those that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def as_rgb(picture: Image.Image) -> Image.Image:
    """Upright (as its EXIF orientation says), on white where it is transparent, in RGB."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return upright.convert("RGB")
