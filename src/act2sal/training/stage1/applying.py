"""A fitted stage 1 that labels other photos than those it was fitted on."""

from dataclasses import dataclass
from pathlib import Path

from act2sal.a2s.activation import ActivationNetwork
from act2sal.networks.checkpoint import load_stage1
from act2sal.networks.encoders import Encoder, freeze
from act2sal.training.stage1.feature_source import frozen_features, is_constant
from act2sal.training.stage1.features import LiveFeatures
from act2sal.training.stage1.stage import Fitted, Stage1


@dataclass(frozen=True)
class AppliedStage1:
    """The networks of a fitted stage 1, read once.

    Attributes:
        network: the activation network.
        encoder: the one it was fitted on, frozen.
    """

    network: ActivationNetwork
    encoder: Encoder

    @classmethod
    def load(cls, run: Path) -> "AppliedStage1":
        """Those of a run directory.

        Raises:
            CheckpointError: it holds no stage 1.
        """
        network, encoder = load_stage1(run / "stage1.safetensors")
        return cls(network, freeze(encoder))

    def on(self, stage: Stage1) -> Fitted:
        """Stage 1 with the features of the photos of `stage`."""
        fabric = stage.trainer.fabric
        fabric.to_device(self.encoder)
        fabric.to_device(self.network)
        if is_constant(stage.config.stage1):
            features = frozen_features(self.encoder, stage.timed_bank(), stage)
            return Fitted(self.network, self.encoder, features)
        return Fitted(self.network, self.encoder, LiveFeatures(self.encoder, stage.bank, fabric.device))
