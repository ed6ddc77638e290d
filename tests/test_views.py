"""A view is data: the same numbers always make the same picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pipeline.images.views import (
    IDENTITY,
    View,
    _crop_box,
    as_image,
    render,
    render_all,
    rotate,
)

GRADIENT = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(10, 12, 3)  # (height, width, 3)
FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@pytest.mark.parametrize("resize", FILTERS)
def test_view_0_is_the_image_resized_by_pillow(resize):
    expected = Image.fromarray(GRADIENT).resize((7, 7), Image.Resampling[resize.upper()])

    np.testing.assert_array_equal(render(GRADIENT, IDENTITY, 7, resize), np.asarray(expected))


@pytest.mark.parametrize(
    ("view", "undo"),
    [
        (View(horizontal_flip=1), lambda p: p[:, ::-1]),
        (View(vertical_flip=1), lambda p: p[::-1]),
        (View(quarter_turns=1), lambda p: np.rot90(p, -1)),
        (View(quarter_turns=3), lambda p: np.rot90(p, -3)),
    ],
)
def test_flips_and_quarter_turns_move_pixels_and_change_none(view, undo):
    square = GRADIENT[:10, :10]

    np.testing.assert_array_equal(undo(render(square, view, 10, "nearest")), square)


def test_a_crop_keeps_the_corner_that_it_names():
    square = np.zeros((100, 100, 3), np.uint8)
    square[50:, 50:] = 255

    right_below = render(square, View(crop=0.5, crop_x=1, crop_y=1), 20, "box")
    left_above = render(square, View(crop=0.5), 20, "box")

    assert right_below.min() == 255
    assert left_above.max() == 0


def test_a_rotation_brings_no_foreign_colour_in():
    """The border is mirrored, so a plain picture stays plain."""
    plain = np.full((31, 50, 3), 77, np.uint8)

    for degrees in (-45, -5.5, 3, 45):
        assert set(render(plain, View(rotation=degrees), 32, "nearest").ravel()) == {77}


def test_a_rotation_turns_counter_clockwise():
    picture = np.zeros((101, 101, 3), np.uint8)
    picture[48:53, 80:100] = 255  # a mark to the right of the centre

    turned = render(picture, View(rotation=30), 101, "nearest")

    assert turned[:45].any()
    assert not turned[56:].any()


@pytest.mark.parametrize(("name", "factor"), [("brightness", 0.5), ("brightness", 1.4)])
def test_brightness_is_a_factor(name, factor):
    plain = np.full((8, 8, 3), 100, np.uint8)

    changed = render(plain, View(**{name: factor}), 8, "nearest")

    assert set(changed.ravel()) == {int(100 * factor)}


def test_contrast_leaves_the_mean_and_spreads_the_rest():
    halves = np.full((8, 8, 3), 100, np.uint8)
    halves[:, 4:] = 140

    changed = render(halves, View(contrast=2.0), 8, "nearest")

    assert sorted(set(changed.ravel())) == [80, 160]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (2, 3, 3), (500, 2, 3)])
def test_every_shape_can_be_rendered(shape):
    view = View(1, 1, 3, 0.4, 0.3, 0.9, -12.5, 1.1, 0.8)

    assert render(np.zeros(shape, np.uint8), view, 32, "lanczos").shape == (32, 32, 3)


fractions = st.floats(0, 1)
factors = st.just(1.0) | st.floats(0.05, 4)
flags = st.integers(0, 1)
turns = st.just(0.0) | st.floats(-45, 45)
views = st.builds(
    View, flags, flags, st.integers(0, 3), st.just(1.0) | st.floats(0.1, 1), fractions, fractions,
    turns, factors, factors,
)  # fmt: skip


def random_picture(seed: int, height: int, width: int, kind: str, levels: int) -> np.ndarray:
    """Noise of few or of many levels: among few, whole numbers meet the rounding."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, levels).astype(np.uint8)
    pixels = random.choice(values, (height, width, 3 if kind == "colour" else 1))
    held_once = np.broadcast_to(pixels, (height, width, 3))
    if kind == "gray held once":  # as `decode` returns it
        return held_once
    pixels = held_once.copy()
    if kind == "one coloured pixel":
        pixels[-1, -1, random.integers(3)] ^= 1
    return pixels


sides = st.integers(1, 60)
kinds = st.sampled_from(["gray", "gray held once", "one coloured pixel", "colour"])
pictures = st.builds(
    random_picture, st.integers(0, 10**6), sides, sides, kinds, st.sampled_from([2, 5, 300])
)


def rendered_in_rgb(pixels: np.ndarray, view: View, size: int, resize: str) -> np.ndarray:
    """What `render` has to return, from the plain steps over three channels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.resize(
        (size, size), Image.Resampling[resize.upper()], box=_crop_box(image, view)
    )
    image = Image.fromarray(turned_over(np.asarray(image), view))
    if view.rotation:
        image = rotate(image, view.rotation)
    if view.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(view.brightness)
    if view.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(view.contrast)
    return np.asarray(image)


def turned_over(pixels: np.ndarray, view: View) -> np.ndarray:
    """Flips, then quarter turns, by NumPy."""
    pixels = pixels[:, ::-1] if view.horizontal_flip else pixels
    pixels = pixels[::-1] if view.vertical_flip else pixels
    return np.ascontiguousarray(np.rot90(pixels, view.quarter_turns))


crops = st.sampled_from([1, 0.7, 0.25])
flips = st.builds(View, flags, flags) | st.builds(View, flags, flags, st.integers(0, 3))


@settings(deadline=None, max_examples=300)
@given(pictures, flips, crops, st.integers(1, 48))
def test_to_turn_over_the_picture_or_its_file_is_the_same(pixels, over, crop, size):
    """The part that is kept is one of the picture turned over.

    Resizing rounds on one axis and then on the other, by half a level each (of the
    first, bicubic weights make up to 1.25 halves): both are within 1.25 of the
    exact value, so within 2 whole levels of one another.  It also cuts off what
    bicubic overshoots: turned by a quarter, on the other axis first.
    """
    resize = "bilinear" if over.quarter_turns else "bicubic"
    part = View(crop=crop, crop_x=0.25, crop_y=0.875)
    view = replace(over, crop=crop, crop_x=0.25, crop_y=0.875)

    of_the_file = render(turned_over(pixels, over), part, size, resize).astype(int)

    assert abs(render(pixels, view, size, resize) - of_the_file).max() <= 2


@settings(deadline=None, max_examples=100)
@given(pictures, st.lists(views, max_size=5), st.integers(1, 48), st.sampled_from(FILTERS))
def test_views_do_not_depend_on_those_that_are_made_with_them(pixels, several, size, resize):
    together = render_all(as_image(pixels), several, size, resize)

    for view, picture in zip(several, together, strict=True):
        np.testing.assert_array_equal(picture, render(pixels, view, size, resize))


@settings(deadline=None, max_examples=300)
@given(pictures, views, st.integers(1, 48), st.sampled_from(FILTERS))
def test_gray_and_colour_are_rendered_to_the_bit_as_in_three_channels(pixels, view, size, resize):
    """Gray takes the short way, through one channel; nothing else does."""
    picture = render(pixels, view, size, resize)

    assert as_image(pixels).mode == ("L" if (pixels == pixels[..., :1]).all() else "RGB")
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, rendered_in_rgb(pixels, view, size, resize))


@settings(deadline=None, max_examples=200)
@given(pictures, st.integers(1, 48), st.floats(-180, 180).filter(bool))
def test_a_turn_is_that_of_pillow(pixels, size, degrees):
    """Pillow turns the whole with its border; here only what stays.  Halves may round apart."""
    image = as_image(pixels).resize((size, size))
    m = size
    border = ((m, m), (m, m), (0, 0))[: np.asarray(image).ndim]
    padded = Image.fromarray(np.pad(np.asarray(image), border, mode="symmetric"))
    turned = padded.rotate(degrees, Image.Resampling.BILINEAR).crop((m, m, m + size, m + size))

    difference = np.asarray(rotate(image, degrees)).astype(int) - np.asarray(turned)
    assert abs(difference).max() <= 1
