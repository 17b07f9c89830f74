"""MUVA's two stages of training (section 3.1.2, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from methods.interface import SourceData, Stage, TrainBatch
from methods.muva.losses import image_to_text_loss, mask_bce, mask_dice, prompt_loss
from methods.parts.identity import MemoryStage
from methods.parts.losses import full_precision
from methods.parts.memory import centroids
from methods.parts.prompts import distinct, encode_all
from methods.parts.schedules import warmup_cosine

if TYPE_CHECKING:
    from methods.muva.method import Muva


class PromptStage(Stage):
    """Stage 1: the prompts of each identity move toward its visual prototype; all else is frozen.

    VPM-1 is made once, from the features f of all images under the evaluation transform with
    their pseudo-label masks in every layer, in eval mode.
    """

    name = "prompts"
    cost = 0.05
    # what only stage 2 looks at, and the RMP: pseudo-label masks stand in for it here
    unaffected_by = (
        *("epochs", "lr", "warmup_epochs", "lr_milestones", "label_smoothing", "bn_momentum"),
        *("temperature", "memory_momentum", "flip", "random_crop_erase", "train_interpolation"),
        *("i2t_similarity", "i2t_smoothing", "dice", "mask_threshold", "rmp_heads"),
        *("rmp_layer_norm", "rmp_residual", "rmp_lr_scale", "rmp_weight_decay", "rmp_init_std"),
    )

    def __init__(self, method: Muva) -> None:
        assert method.text is not None
        self.method, self.text = method, method.text
        self.config = method.config
        self.epochs = method.config.stage1_epochs
        self.memory = torch.empty(0)

    @torch.no_grad()
    def prepare(self, data: SourceData) -> None:
        """VPM-1: the L2-normalised mean of each identity's f, which is not normalised before."""
        self.method.eval()

        def features() -> Iterator[tuple[Tensor, Tensor]]:
            for b in data.in_order():
                yield self.method.encoder(b.images, self.method.pseudo_masks(b)).features, b.labels

        self.memory = centroids(features(), data)
        if self.text.domain_specific:
            domains = torch.zeros(data.num_classes, dtype=torch.long, device=data.labels.device)
            domains[data.labels] = data.domains
            self.text.set_domains(domains)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the prompts alone."""
        c = self.config
        return torch.optim.Adam([self.text.prompts], lr=c.stage1_lr, weight_decay=c.weight_decay)

    def lr_factor(self, epoch: int) -> float:
        """Warm-up and cosine."""
        c = self.config
        return warmup_cosine(
            epoch,
            self.epochs,
            c.stage1_lr,
            c.stage1_warmup_epochs,
            c.stage1_warmup_lr,
            c.stage1_min_lr,
        )

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """P x K batches, of which only the labels count; or each identity once (algorithm 1)."""
        P, K = self.config.identities, self.config.instances
        if self.config.chosen("stage1_batches") == "pk":
            return data.pk_batches(epoch, P, K, decode=False)
        return _identity_batches(data, P * K)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """text: [B, d]; an identity's is encoded once however often it is in the batch."""
        labels, places, *_ = distinct(batch.labels)
        return {"text": self.text(labels)[places]}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """L_cmp of Eq. 1, from the first of each identity's rows, which are all the same."""
        labels, _, counts, first = distinct(batch.labels)
        text = outputs["text"][first]
        loss = prompt_loss(text, self.memory, labels, counts, self.config.stage1_temperature)
        return {"cmp": loss}

    def state_dict(self) -> dict[str, Tensor]:
        """VPM-1 is constant once made."""
        return {"memory": self.memory}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse."""
        self.memory = state["memory"]


class EncoderStage(MemoryStage):
    """Stage 2: image encoder, local tokens, RMP, BN neck and classifier; the text is frozen.

    L = L_id + L_imp + L_i2tce + L_bce + L_dice (Eq. 11), all of weight 1.
    """

    name = "encoder"

    def __init__(self, method: Muva) -> None:
        super().__init__(method, method.classifier, method.config)
        self.method, self.config = method, method.config
        self.text_memory = torch.empty(0)

    @torch.no_grad()
    def prepare(self, data: SourceData) -> None:
        """TPM: the text features of all identities, from the prompts of stage 1.

        Raises ReIDError where a batch would hold one image.
        """
        super().prepare(data)
        if self.method.text is not None:
            self.method.eval()
            self.text_memory = encode_all(self.method.text, data.num_classes, data.device)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam; the RMP at ten times the rate, with a weight decay of its own."""
        c, method = self.config, self.method
        predictors = list(method.encoder.mask_predictor.parameters())
        apart = {id(p) for p in predictors}
        if method.text is not None:
            apart |= {id(p) for p in method.text.parameters()}
        others = [p for p in method.parameters() if p.requires_grad and id(p) not in apart]
        groups = [{"params": others, "lr": c.lr, "weight_decay": c.weight_decay}]
        if predictors:
            decay = c.chosen("rmp_weight_decay")
            rate = c.lr * c.rmp_lr_scale
            groups.append({"params": predictors, "lr": rate, "weight_decay": decay})
        return torch.optim.Adam(groups)

    def memory_neck(self, batch: TrainBatch) -> Tensor:
        """b under the pseudo-label masks."""
        return self.method(batch.images, self.method.pseudo_masks(batch))[1]

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """features: f [B, (1 + R) E], gated by the masks that the model predicts itself.

        And where it learns them: mask_logits M [B, layers, R, L]; masks G [B, R, L] bool; where
        some of those are nothing to learn, masks_known [B, R] bool.
        """
        encoded = self.method.encoder(batch.images)
        outputs, masks = {"features": encoded.features}, self.method.pseudo_masks(batch)
        if masks is not None and encoded.mask_logits is not None:
            outputs |= {"mask_logits": encoded.mask_logits.transpose(0, 1), "masks": masks}
            known = self.method.known_parts(batch)
            if known is not None:
                outputs["masks_known"] = known
        return outputs

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """Eq. 11."""
        c, labels, features = self.config, batch.labels, outputs["features"]
        losses = self.identity_losses(self.method.bn_neck(features), labels)
        if self.method.text is not None:
            similarity = c.chosen("i2t_similarity")
            losses["i2t"] = image_to_text_loss(
                full_precision(features),
                self.text_memory,
                labels,
                similarity,
                c.i2t_smoothing,
            )
        if "masks" in outputs:
            scores, masks = full_precision(outputs["mask_logits"].transpose(0, 1)), outputs["masks"]
            known = outputs.get("masks_known")
            losses["bce"] = mask_bce(scores, masks, known)
            losses["dice"] = mask_dice(scores, masks, c.chosen("dice"), known)
        return losses

    def state_dict(self) -> dict[str, Tensor]:
        """TPM is constant once made; VPM-2 is made anew every epoch."""
        return {"text_memory": self.text_memory}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse."""
        self.text_memory = state["text_memory"]


def _identity_batches(data: SourceData, size: int) -> Iterator[TrainBatch]:
    """Every identity once, shuffled; the loop has seeded the draw for this epoch."""
    order = torch.randperm(data.num_classes).to(data.device)
    for batch in order.split(size):
        labels = batch[data.share(len(batch))]
        nothing = torch.zeros_like(labels)
        images = torch.empty(len(labels), 0, device=data.device)
        yield TrainBatch(images, labels, nothing, nothing, nothing)
