"""Turns the bytes of a photo's file into the bytes of its results, for pipes and services."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from act2sal.data.images import NAMELESS, read_with_opacity
from act2sal.data.pixel_budget import naming_lack
from act2sal.predict.maps import Decoded, MapMaker
from act2sal.predict.rendering import Rendered, Rendering


def photo_bytes(content: bytes, maker: MapMaker, rendering: Rendering) -> Rendered:
    """What `act2sal predict` would write of a photo, without a file; may be called from several threads.

    Args:
        content: of the photo's file, as for `images.read_photo`.
        maker: makes the map.
        rendering: kinds of output and their format.

    Raises:
        ImageError: no photo, or too little memory; its `reason` is for the user.
        InputError: the format cannot hold a picture of that size.
    """
    with naming_lack(NAMELESS), ThreadPoolExecutor(1) as pool:
        photo, opacity = read_with_opacity(content)
        (found,) = maker([replace(Decoded.of(photo, maker.side), opacity=opacity)], pool)
        return replace(rendering, seen=maker.seen).rendered_bytes(
            photo, found.prob, found.confidence, opacity=opacity, profile=rendering.profile_of(content)
        )
