"""Writes tests/golden/images/: what PIL makes of the bundled photographs and of small files in every format.

    pip install pillow==13.0.0 numpy==2.4.6
    python3 tests/golden/make/images.py        # from the repository's root

crops.txt      image, size, SHA-256 of the centre crop's RGB bytes (size, size, 3): ADM's procedure
crops_64.png   the photographs' 64-pixel crops side by side, in the order of crops.txt, to see how far off a crop is
formats/       small images: JPEG samplings, colour spaces and scan types, PNG colour types and depths, WebP
formats.txt    file, width, height, SHA-256 of the RGB bytes of convert("RGB")
"""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = Path("assets/photos")
OUT = Path("tests/golden/images")
SIZES = [64, 100, 128, 256, 300]  # 300 enlarges dandelion.jpg, whose shorter side is 288
EDGES = {
    "rgb_33x17.png": 8,  # halving an odd side: a pixel's centre lies exactly on the edge between two boxes
    "rgb_22x16.png": 12,  # 22 * 12 / 16 = 16.5 columns, which rounds to even
}


def center_crop(image, size):
    while min(image.size) >= 2 * size:
        image = image.resize(tuple(side // 2 for side in image.size), resample=Image.BOX)
    scale = size / min(image.size)
    image = image.resize(tuple(round(side * scale) for side in image.size), resample=Image.BICUBIC)
    pixels = np.array(image)
    y, x = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[y : y + size, x : x + size]


def sha256(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def write_png(path, pixels, depth, color_type):
    """A PNG of a depth that PIL does not write; rows are bytes already."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width = pixels.shape[:2]
    rows = np.packbits(pixels, axis=1) if depth == 1 else pixels.astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def write_formats(folder):
    photo = Image.open(PHOTOS / "astronaut.jpg").convert("RGB").crop((120, 20, 330, 200)).resize((45, 37), Image.BICUBIC)
    rng = np.random.default_rng(0)
    alpha = Image.fromarray(rng.integers(0, 256, (37, 45)).astype(np.uint8))
    rgba = photo.copy()
    rgba.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees: ignored
    jpegs = {
        "420": dict(quality=80),
        "422": dict(quality=80, subsampling=1),
        "444": dict(quality=95, subsampling=0),
        "progressive": dict(quality=60, progressive=True),
        "quality5": dict(quality=5),
        "restarts": dict(quality=75, restart_marker_rows=1),
        "rgb": dict(quality=90, keep_rgb=True),
        "exif_orientation": dict(quality=80, exif=exif),
    }
    for name, options in jpegs.items():
        photo.save(folder / f"{name}.jpg", **options)
    photo.convert("L").save(folder / "gray.jpg")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.save(folder / "rgb8.png", optimize=True)
    photo.crop((6, 9, 39, 26)).save(folder / "rgb_33x17.png", optimize=True)
    photo.crop((9, 9, 31, 25)).save(folder / "rgb_22x16.png", optimize=True)
    rgba.save(folder / "rgba8.png", optimize=True)
    photo.convert("L").save(folder / "gray8.png")
    photo.convert("L").save(folder / "gray8_transparent.png", transparency=7)
    gray_alpha = photo.convert("LA")
    gray_alpha.putalpha(alpha)
    gray_alpha.save(folder / "gray_alpha8.png")
    photo.quantize(64).save(folder / "palette8.png")
    photo.quantize(7).save(folder / "palette4.png", bits=4)
    photo.quantize(16).save(folder / "palette8_transparent.png", transparency=3)
    write_png(folder / "gray1.png", np.array(photo.convert("L")) > 99, 1, 0)
    small = (9, 13)
    write_png(folder / "rgb16.png", rng.integers(0, 65536, (*small, 3)), 16, 2)
    write_png(folder / "rgba16.png", rng.integers(0, 65536, (*small, 4)), 16, 6)
    write_png(folder / "gray_alpha16.png", rng.integers(0, 65536, (*small, 2)), 16, 4)
    write_png(folder / "gray16.png", rng.integers(0, 65536, small), 16, 0)
    photo.save(folder / "lossy.webp", quality=80)
    photo.save(folder / "lossless.webp", lossless=True)
    rgba.save(folder / "alpha.webp", quality=70)
    photo.save(folder / "animated.webp", save_all=True, append_images=[photo.rotate(180)], quality=80)


def main():
    import PIL

    formats = OUT / "formats"
    formats.mkdir(parents=True, exist_ok=True)
    write_formats(formats)
    origin = f"# Pillow {PIL.__version__}, by tests/golden/make/images.py\n"
    lines, strip = [], []
    for path in sorted(PHOTOS.glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        crops = {size: center_crop(image, size) for size in SIZES}
        strip.append(crops[64])
        lines += [f"{path} {size} {sha256(crop)}\n" for size, crop in crops.items()]
    for name, size in EDGES.items():
        crop = center_crop(Image.open(formats / name), size)
        lines.append(f"{formats / name} {size} {sha256(crop)}\n")
    (OUT / "crops.txt").write_text(origin + "".join(lines))
    Image.fromarray(np.concatenate(strip, axis=1)).save(OUT / "crops_64.png", optimize=True)

    lines = []
    for path in sorted(formats.iterdir()):
        pixels = np.array(Image.open(path).convert("RGB"))
        if path.name == "gray16.png":
            # PIL saturates 16-bit grey above 255 to white; the engine takes the high byte, as PIL does for RGB.
            high = (np.array(Image.open(path)) >> 8).astype(np.uint8)
            pixels = np.stack([high] * 3, axis=-1)
        lines.append(f"{path.name} {pixels.shape[1]} {pixels.shape[0]} {sha256(pixels)}\n")
    (OUT / "formats.txt").write_text(origin + "".join(lines))


main()
