"""Measures belong to the pixels: not to the file, the batch or the machine."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pipeline.images.decode import decode_bytes
from pipeline.images.gray_copy import SIDE, gray_copy
from pipeline.images.measures import Measures, measure
from pipeline.images.perceptual_hash import COSINES, perceptual_hashes

seeds = st.integers(0, 2**32 - 1)
PINNED = ["9714be438e4ed351", "e8560742e682ff66", "ce4db3ad04b06d35", "c13a32604dab3f9e"]


def waves(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    """A smooth picture of (width, height), as photographs are."""
    few = np.random.default_rng(seed).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


def of(image: Image.Image) -> Measures:
    return measure(gray_copy(np.asarray(image.convert("RGB")))[None])[0]


def bits_apart(one: Image.Image, other: Image.Image) -> int:
    return (int(of(one).perceptual_hash, 16) ^ int(of(other).perceptual_hash, 16)).bit_count()


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), seeds, st.booleans())
def test_equal_pixels_have_equal_measures_however_the_array_holds_them(height, width, seed, hard):
    gray = np.random.default_rng(seed).integers(0, 256, (height, width, 1)).astype(np.uint8)
    gray = gray // 128 * 255 if hard else gray
    repeated = np.broadcast_to(gray, (height, width, 3))

    assert np.array_equal(gray_copy(repeated), gray_copy(np.ascontiguousarray(repeated)))


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 255))
def test_a_picture_of_one_colour_stays_so(height, width, level):
    copy = gray_copy(np.full((height, width, 3), level, np.uint8))

    assert copy.shape == (SIDE, SIDE)
    assert (copy == level).all()


def test_a_colour_between_gray_pixels_is_seen():
    """Some pixels are looked at to tell colour from gray; the others count as well."""
    pixels = np.full((64, 64, 3), 90, np.uint8)
    pixels[3, 5] = (90, 90, 240)

    assert gray_copy(pixels)[3, 5] == 140


@pytest.mark.parametrize("size", [(64, 64), (200, 65), (333, 1001), (70, 3000), (9, 17), (1, 1)])
def test_the_copy_is_the_whole_picture_made_small(size):
    """Rows that are left out, and sizes that no reduction divides, shift nothing."""
    pixels = np.asarray(waves(3, size))
    gray = Image.fromarray(np.rint(pixels.mean(axis=2)).astype(np.uint8))
    whole = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(float)

    assert np.abs(gray_copy(pixels) - whole).max() <= 8
    assert np.abs(gray_copy(pixels) - whole).mean() < 1


@settings(deadline=None)
@given(st.lists(seeds, min_size=1, max_size=20), st.integers(1, 19))
def test_pictures_measured_together_or_apart_are_the_same(several, cut):
    copies = np.stack(
        [np.random.default_rng(s).integers(0, 256, (64, 64)).astype(np.uint8) for s in several]
    )

    assert measure(copies) == measure(copies[:cut]) + measure(copies[cut:])


def test_no_pictures_have_no_measures():
    assert measure(np.empty((0, SIDE, SIDE), np.uint8)) == []


@settings(deadline=None)
@given(seeds)
def test_numbers_are_the_mean_the_deviation_and_the_variance_of_the_laplacian(seed):
    copy = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    gray = copy.astype(float)
    laplacian = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1]
    laplacian -= gray[1:-1, :-2] + gray[1:-1, 2:]

    found = measure(copy[None])[0]

    assert found[1:] == pytest.approx((gray.mean(), gray.std(), laplacian.var()), abs=6e-4)


def test_the_hash_is_imagehash_s():
    """From `imagehash.phash(Image.fromarray(copy), hash_size=8, highfreq_factor=8)`, 4.3.2."""
    copies = np.array([np.asarray(waves(seed, (64, 64)).convert("L")) for seed in range(4)])

    assert perceptual_hashes(copies) == PINNED


def test_sums_are_exact_in_float64():
    """The largest that a sum can be is below 2^53, so no machine rounds it otherwise."""
    assert (COSINES.astype(np.int64) == COSINES).all()
    assert (np.abs(COSINES).sum(axis=1).max() ** 2) * 255 * 2 < 2**53


@pytest.mark.parametrize("level", [1, 128, 255])
def test_one_colour_has_one_hash(level):
    assert of(Image.new("L", (70, 50), level)).perceptual_hash == "8000000000000000"


@pytest.mark.parametrize("seed", range(8))
def test_a_copy_that_was_resized_or_compressed_is_near_and_another_picture_far(seed):
    image = waves(seed)
    stream = BytesIO()
    image.save(stream, "JPEG", quality=40)
    compressed = Image.fromarray(np.ascontiguousarray(decode_bytes(stream.getvalue())))

    assert bits_apart(image, compressed) <= 4
    assert bits_apart(image, image.resize((150, 110), Image.Resampling.BICUBIC)) <= 4
    assert bits_apart(image, image.resize((700, 640), Image.Resampling.BICUBIC)) <= 4
    assert bits_apart(image, image.point(lambda value: value * 0.8)) <= 4
    assert bits_apart(image, waves(seed + 100)) > 12


def test_blur_lowers_sharpness():
    image = waves(1)
    sharpness = [of(image.filter(ImageFilter.GaussianBlur(r))).sharpness for r in (0, 4, 8, 16)]

    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[-1] < sharpness[0] / 5
