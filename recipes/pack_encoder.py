"""Write an encoder's weights as one small file, which `--encoder-weights` takes: convolutions in half precision.

python recipes/pack_encoder.py resnet50 moco_v2 --out resnet50_moco_v2.safetensors
"""

import argparse
from pathlib import Path

from safetensors.torch import save

from act2sal.data.images import write_atomic
from act2sal.networks.encoders import build_encoder, encoder_metadata

MATRIX = 2
"""Least dimensions of a tensor that is halved: statistics and offsets keep their precision."""


def main() -> None:
    """Build, halve, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", help="timm or short name")
    parser.add_argument("weights", help="timm, moco_v2, builtin or a file")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    encoder = build_encoder(options.encoder, options.weights)
    tensors = {
        name: (tensor.half() if tensor.ndim >= MATRIX else tensor).contiguous()
        for name, tensor in encoder.body.state_dict().items()
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, save(tensors, encoder_metadata(encoder)))


if __name__ == "__main__":
    main()
