"""ICC profiles made by hand, for tests (ICC.1:2022 and, for the first version of the tables, ICC.1:2001)."""

from collections.abc import Mapping, Sequence

import numpy as np

_WHITE = b"".join(round(x * 65536).to_bytes(4, "big") for x in (0.9642, 1, 0.8249))


def grey_profile(gamma: float) -> bytes:
    """Of a display whose light is its levels to the power of gamma."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + bytes(2)
    return _profile(b"mntrGRAYXYZ ", {b"kTRC": curve})


def cmyk_profile(labs: Mapping[tuple[int, int, int, int], Sequence[float]]) -> bytes:
    """Of a printer: the Lab (D50) of each mixture of whole inks (0 or 1 of C, M, Y, K); what is between is linear."""
    straight = bytes(range(256))
    corners = b""
    for number in range(16):
        inks = (number >> 3 & 1, number >> 2 & 1, number >> 1 & 1, number & 1)
        lightness, a, b = labs.get(inks, (0.0, 0.0, 0.0))
        corners += bytes([round(lightness * 2.55), round(a) + 128, round(b) + 128])
    identity = b"".join(round(x * 65536).to_bytes(4, "big") for x in np.eye(3).ravel())
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + straight * 4 + corners + straight * 3
    return _profile(b"prtrCMYKLab ", {b"A2B0": table})


def _profile(kind: bytes, own: Mapping[bytes, bytes]) -> bytes:
    """A header, and the tags that every profile has to have beside its own; kind: class, space, connection space."""
    text = b"desc" + bytes(4) + (2).to_bytes(4, "big") + b"g\0" + bytes(78)
    white = b"XYZ " + bytes(4) + _WHITE
    tags = {b"desc": text, b"wtpt": white, **own, b"cprt": b"text" + bytes(4) + b"-\0\0\0"}
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + (start + len(data)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        data += content + bytes(-len(content) % 4)
    body = len(tags).to_bytes(4, "big") + table + data
    head = bytes(4) + b"\2\x10\0\0" + kind + bytes(12) + b"acsp" + bytes(28) + _WHITE + bytes(48)
    return (128 + len(body)).to_bytes(4, "big") + head + body
