"""Images as untrusted files: what is read, and what is refused before it costs anything."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmark.data.pictures import FORMATS, NotAPictureError, as_rgb, open_picture
from tests.data.fetch.server import picture, png_bomb


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_usual_formats_are_read_whatever_they_are_called(format_: str) -> None:
    found = open_picture(picture(3, (30, 20), format_))
    assert (found.format, found.size) == (format_, (30, 20))


def test_a_telephones_picture_of_several_is_its_first() -> None:
    several = [Image.new("RGB", (16, 12), colour) for colour in ("red", "blue")]
    found = open_picture(saved(several[0], "MPO", save_all=True, append_images=several[1:]))
    assert found.format in FORMATS
    assert FORMATS[str(found.format)] == "jpg"
    assert np.asarray(as_rgb(found)).mean((0, 1))[0] > 200


@pytest.mark.parametrize("format_", ["TIFF", "PPM", "TGA", "PDF", "EPS", "ICO"])
def test_other_formats_are_not(format_: str) -> None:
    with pytest.raises(NotAPictureError):
        open_picture(saved(Image.new("RGB", (16, 16)), format_))


def test_pixels_are_counted_before_they_are_decoded() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    for side in (7_100, 20_000, 100_000):
        with pytest.raises(NotAPictureError, match="pixels") as error:
            open_picture(png_bomb(side, side))
        assert error.value.too_large
    assert limit == Image.MAX_IMAGE_PIXELS, "Pillow's own limit is as it was"
    with pytest.raises(NotAPictureError) as error:
        open_picture(picture(0, (40, 30)), most_pixels=1199)
    assert error.value.too_large


def test_a_jpeg_of_a_hundred_thousand_passes_is_not_begun() -> None:
    """Each scan of a progressive JPEG is a pass over all its pixels: 100 bytes may cost as much as an image."""
    whole = saved(Image.effect_noise((2000, 2000), 50), "JPEG", progressive=True)
    assert open_picture(whole).size == (2000, 2000)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last : last + 200]
    started = time.process_time()
    with pytest.raises(NotAPictureError, match="scans"):
        open_picture(whole[:-2] + scan * 100_000 + whole[-2:])
    assert time.process_time() - started < 30  # its passes alone would take far longer


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", picture()[:-30], b"GIF89a" + bytes(20), bytes(1000)]
)
def test_what_is_no_image_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(NotAPictureError) as error:
        open_picture(content)
    assert not error.value.too_large


def test_transparent_is_white_and_turned_is_upright() -> None:
    layer = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    layer.putpixel((0, 0), (0, 0, 255, 255))
    pixels = np.asarray(as_rgb(open_picture(saved(layer, "PNG"))))
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert (pixels[1] == 255).all()
    turned = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    shown = as_rgb(open_picture(saved(turned, "PNG", exif=exif)))
    assert shown.size == (2, 4)
    assert np.array_equal(np.asarray(shown), np.asarray(turned.transpose(Image.Transpose.ROTATE_270)))
    palette = Image.new("P", (3, 3), 0)
    palette.info["transparency"] = 0
    assert (np.asarray(as_rgb(open_picture(saved(palette, "GIF", transparency=0)))) == 255).all()
    assert ImageOps.exif_transpose(turned).size == (4, 2)
