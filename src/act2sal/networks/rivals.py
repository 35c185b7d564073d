"""The networks that can take the place of our detector, by their names."""

from act2sal.a2s.detector import DetectorNetwork
from act2sal.networks.basnet import BASNet
from act2sal.networks.cpd import CPD
from act2sal.networks.itsd import ITSD
from act2sal.networks.minet import MINet
from act2sal.networks.picanet import PiCANet
from act2sal.networks.rival import Rival

OURS = "a2s"
RIVALS: dict[str, type[Rival]] = {
    "basnet": BASNet,
    "cpd": CPD,
    "itsd": ITSD,
    "minet": MINet,
    "picanet": PiCANet,
}
"""A further one needs its file, its name here and among `config.DetectorName`."""

SaliencyNetwork = DetectorNetwork | Rival
"""Our detector, or a network in its place."""


def name_of(network: SaliencyNetwork) -> str:
    """Name a network, as `RIVALS` does; ours is "a2s"."""
    return next((name for name, kind in RIVALS.items() if isinstance(network, kind)), OURS)
