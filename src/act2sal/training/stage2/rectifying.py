"""Rectifying of the labels after a step of stage 2: OLR (Eq. 14) or HMA (USPS)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from act2sal.a2s.pseudo_labels import refine_prob
from act2sal.a2s.rectify import historical_average, lambda_at, quantise, rectify
from act2sal.a2s.resampling import flip
from act2sal.config import LabelConfig, Stage2Config
from act2sal.data.photo_batches import PhotoSource, stack
from act2sal.runtime.prefetch import LateWrites
from act2sal.runtime.stopwatch import Stopwatch
from act2sal.training.stage2.batches import Batch
from act2sal.training.views import put_back


@dataclass(frozen=True)
class Rectifier:
    """Rectifies the labels of a batch by the predictions that the network made for it.

    Attributes:
        photos: N square photos, those of this process, for HMA alone.
        config: options of stage 2.
        labels: options of the CRF, for HMA alone.
        stopwatch: times the CRF.
    """

    photos: PhotoSource
    config: Stage2Config
    labels: LabelConfig
    stopwatch: Stopwatch

    def rectify(self, late: LateWrites, batch: Batch, logits: Tensor, epoch: int) -> Tensor:
        """Write the labels of the next epoch (Eq. 14, or HMA); the mean absolute change, a scalar."""
        # HMA has a momentum of its own, and waits for the end of the warm-up as OLR does.
        own = self.config.rectify_lambda if self.config.rectifier == "olr" else 0.0
        lam = lambda_at(epoch, warmup=self.config.rectify_warmup, lam=own)
        if self.config.rectifier == "none" or lam == 1:
            return logits.new_zeros(())
        prob = torch.sigmoid(logits)
        if batch.windows is not None:
            prob = put_back(batch.labels, prob, batch.windows)
        prob, label = flip(prob, batch.mirrored), flip(batch.labels, batch.mirrored)
        if self.config.rectifier == "hma":
            with self.stopwatch.part("CRF"):
                rectified = self._historical_average(batch, prob, label)
        else:
            rectified = rectify(label, prob, lam)
        late.put(batch.indices, quantise(rectified))
        return (rectified - label).abs().mean()

    def _historical_average(self, batch: Batch, prob: Tensor, label: Tensor) -> Tensor:
        if not prob.isfinite().all():  # the CRF takes no others
            raise FloatingPointError("the maps of stage 2 are no longer finite; a lower stage2.lr may help")
        averaged = historical_average(
            stack(self.photos, batch.indices),
            prob[:, 0].cpu().numpy(),
            label[:, 0].cpu().numpy(),
            momentum=self.config.hma_momentum,
            refine=partial(refine_prob, config=self.labels),
        )
        return torch.from_numpy(averaged)[:, None].to(label.device)
