"""Regions as polygons: filled again, they are the same pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from act2sal.predict.outlines import outline_of, regions_of
from act2sal.predict.regions import Box, boxes_of
from polygons import filled

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))


def test_a_square_by_hand() -> None:
    """A quarter of a pixel inside its edge."""
    region = np.zeros((5, 6), np.bool_)
    region[1:3, 2:5] = True
    corners = {(2.25, 1.25), (2.25, 2.75), (4.75, 2.75), (4.75, 1.25)}
    assert set(map(tuple, outline_of(region).tolist())) == corners
    assert len(outline_of(region)) == 4


def test_regions_by_hand() -> None:
    prob = np.zeros((6, 10), np.float32)
    prob[1:3, 2:4] = 0.9  # 4 pixels, and one more at its corner
    prob[3, 4] = 0.6
    prob[0:6, 7:10] = 0.75
    first, second = regions_of(prob > 0.5, prob)
    assert (first.box, first.pixels, first.score) == (Box(7, 0, 3, 6), 18, 0.75)
    assert (second.box, second.pixels) == (Box(2, 1, 3, 3), 5)
    assert second.score == pytest.approx((4 * 0.9 + 0.6) / 5)


def test_a_ring_keeps_its_hole() -> None:
    region = np.ones((9, 9), np.bool_)
    region[3:6, 4:6] = False
    region[7, 1] = False
    np.testing.assert_array_equal(filled(outline_of(region), (9, 9)), region)


@settings(deadline=None, max_examples=300)
@given(MASKS)
def test_filled_outlines_are_the_same_pixels(mask: NDArray[np.bool_]) -> None:
    """Of any mask, however thin its parts and however many holes they have; regions do not overlap."""
    prob = np.where(mask, np.float32(0.8), np.float32(0.2))
    regions = regions_of(mask, prob)
    times = np.zeros(mask.shape, int)
    for region in regions:
        part = filled(region.outline, mask.shape)
        assert part.sum() == region.pixels
        times += part
    np.testing.assert_array_equal(times, mask)
    assert [region.box for region in regions] == boxes_of(prob)


def test_smooth_outlines_have_fewer_corners_than_steps() -> None:
    rows, columns = np.mgrid[:200, :200]
    disk = (rows - 99.5) ** 2 + (columns - 99.5) ** 2 < 90**2
    outline = outline_of(disk)
    np.testing.assert_array_equal(filled(outline, (200, 200)), disk)
    steps = (np.diff(disk.astype(int), axis=0) != 0).sum() + (np.diff(disk.astype(int), axis=1) != 0).sum()
    assert len(outline) < 0.6 * steps


def test_a_sieve_of_ten_thousand_holes() -> None:
    """Joined one after the other to all that is joined already, they would take a minute."""
    sieve = np.ones((201, 201), np.bool_)
    sieve[1::2, 1::2] = False
    outline = outline_of(sieve)
    # Each hole has four corners; it begins and ends at one, and the way back ends at a corner of the outer line.
    assert len(outline) == 4 + 6 * 100**2
