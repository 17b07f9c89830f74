"""CLIP-ReID's two stages of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from methods.interface import SourceData, Stage, TrainBatch
from methods.parts.contrastive import image_text_contrast
from methods.parts.losses import full_precision, identity_loss, similarities
from methods.parts.metric import batch_hard_triplet
from methods.parts.necks import require_batch
from methods.parts.prompts import distinct, encode_all
from methods.parts.rates import biases_apart
from methods.parts.schedules import warmup_cosine, warmup_steps

if TYPE_CHECKING:
    from methods.clip_reid.method import ClipReid


class PromptStage(Stage):
    """Stage 1: the prompts of each identity against the features of its images; all else is frozen.

    Features f_p are made once, under the evaluation transform in eval mode.
    """

    name = "prompts"
    cost = 0.05
    # what only stage 2 looks at
    unaffected_by = (
        *("epochs", "lr", "bias_lr_scale", "weight_decay", "warmup_epochs", "warmup_start"),
        *("lr_milestones", "identities", "instances", "id_weight", "label_smoothing", "margin"),
        *("batch_norm", "flip", "pad", "erase"),
    )

    def __init__(self, method: ClipReid) -> None:
        assert method.text is not None
        self.method, self.text, self.config = method, method.text, method.config
        self.epochs = method.config.chosen("stage1_epochs")
        self.features = torch.empty(0)

    @torch.no_grad()
    def prepare(self, data: SourceData) -> None:
        """f_p of all images: [N, E]."""
        self.method.eval()
        prompts, width = self.text.prompts, self.method.encoder.widths[-1]
        features = full_precision(prompts.new_zeros(len(data), width))
        for batch in data.in_order():
            f_p = self.method.encoder(batch.images).f_p
            features[batch.indices] = f_p.to(features.dtype)
        self.features = data.summed(features)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the prompts alone."""
        c = self.config
        decay = c.stage1_weight_decay
        return torch.optim.Adam([self.text.prompts], lr=c.stage1_lr, weight_decay=decay)

    def lr_factor(self, epoch: int) -> float:
        """Warm-up and cosine."""
        c = self.config
        warm = (c.stage1_warmup_epochs, c.stage1_warmup_lr, c.stage1_min_lr)
        return warmup_cosine(epoch, self.epochs, c.stage1_lr, *warm)

    def batches(self, epoch: int, data: SourceData) -> Iterator[TrainBatch]:
        """All images once, shuffled, of which only label and row count; the last may be smaller."""
        order = torch.randperm(len(data)).to(data.device)
        labels, domains = data.labels.to(data.device), data.domains.to(data.device)
        for whole in order.split(self.config.stage1_batch):
            rows = whole[data.share(len(whole))]
            nothing = torch.empty(len(rows), 0, device=data.device)
            yield TrainBatch(nothing, labels[rows], domains[rows], torch.zeros_like(rows), rows)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """text: [B, E]; an identity's is encoded once however often it is in the batch."""
        labels, places, *_ = distinct(batch.labels)
        return {"text": self.method.texts(labels)[places]}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """L_i2t and L_t2i, from the first of each identity's rows, which are all the same."""
        _, places, counts, first = distinct(batch.labels)
        images, texts = self.features[batch.indices], outputs["text"][first]
        temperature = self.config.stage1_temperature
        i2t, t2i = image_text_contrast(images, texts, places, counts, temperature)
        return {"i2t": i2t, "t2i": t2i}

    def state_dict(self) -> dict[str, Tensor]:
        """The features are constant once made."""
        return {"features": self.features}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse."""
        self.features = state["features"]


class EncoderStage(Stage):
    """Stage 2: image encoder, BN necks and classifiers; the text is frozen.

    L = w_id [CE(W_1 BN(f_b)) + CE(W_2 BN(f_p))] + the triplet losses of f_a, f_b and f_p
    + CE(f_p . T^T), T the texts of all identities; every CE with smoothed labels.
    """

    name = "encoder"

    def __init__(self, method: ClipReid) -> None:
        self.method, self.config = method, method.config
        self.epochs = method.config.chosen("epochs")
        self.texts = torch.empty(0)

    @torch.no_grad()
    def prepare(self, data: SourceData) -> None:
        """T: the text features of all identities, from the prompts of stage 1.

        Raises ReIDError where a batch would hold one image.
        """
        require_batch(self.config.identities, self.config.instances, data.num_classes)
        if self.method.text is not None:
            self.method.eval()
            self.texts = encode_all(self.method.texts, data.num_classes, data.device)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam; biases at twice the rate."""
        c = self.config
        named = (one for one in self.method.named_parameters() if not one[0].startswith("text."))
        groups = biases_apart(named, c.chosen("lr"), c.bias_lr_scale)
        return torch.optim.Adam(groups, weight_decay=c.chosen("weight_decay"))

    def lr_factor(self, epoch: int) -> float:
        """Linear warm-up, then steps."""
        c = self.config
        start, milestones = c.chosen("warmup_start"), c.chosen("lr_milestones")
        return warmup_steps(epoch, c.warmup_epochs, milestones, start)

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """P x K batches."""
        return data.pk_batches(epoch, self.config.identities, self.config.instances)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """f_a, f_b and f_p, each [B, width]."""
        return self.method.encoder(batch.images)._asdict()

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """The terms of L, weighted."""
        c, method, labels = self.config, self.method, batch.labels
        smoothing, weight = c.label_smoothing, c.chosen("id_weight")
        f_a, f_b, f_p = (full_precision(outputs[name]) for name in ("f_a", "f_b", "f_p"))
        logits_b = method.classifier(method.bn_neck(f_b))
        logits_p = method.classifier_p(method.bn_neck_p(f_p))
        triplets = [batch_hard_triplet(f, labels, c.margin) for f in (f_a, f_b, f_p)]
        losses = {
            "id": weight * identity_loss(logits_b, labels, smoothing),
            "id_p": weight * identity_loss(logits_p, labels, smoothing),
            "triplet": torch.stack(triplets).sum(),
        }
        if method.text is not None:
            losses["i2t"] = identity_loss(similarities(f_p, self.texts), labels, smoothing)
        return losses

    def state_dict(self) -> dict[str, Tensor]:
        """T is constant once made."""
        return {"texts": self.texts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse."""
        self.texts = state["texts"]


class WholeBatchStage(EncoderStage):
    """Stage 2 of an encoder with batch norms, where an image's features depend on its batch mates.

    So all of it looks across the batch and belongs behind the cut (`methods.interface.Stage`).
    """

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """images: [B, 3, H, W], as they are."""
        return {"images": batch.images}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """Those of the features, computed on the whole batch."""
        return super().losses(self.method.encoder(outputs["images"])._asdict(), batch)
