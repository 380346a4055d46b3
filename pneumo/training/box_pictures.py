"""True and predicted boxes on the same few images after each epoch, for TensorBoard."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, make_grid

from pneumo.data.detection import BoxDataModule
from pneumo.training import tensorboard_log
from pneumo.training.detection import FIXED_ON, Detection

NUM_PICTURES = 16
SIDE = 256  # pixels, at least, so that scores can be read
TRUE, PREDICTED = "lime", "red"


class BoxPictures(pl.Callback):
    """Draws the first validation images: true boxes green, predicted ones red.

    The predicted ones are those that count at the confidence fixed on the validation images.
    """

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the picture of the epoch."""
        data: BoxDataModule = trainer.datamodule  # type: ignore[attr-defined]
        writer = tensorboard_log.writer_of(trainer)
        if writer is None:
            return
        assert isinstance(pl_module, Detection)
        batch: Any = next(iter(data.loader(FIXED_ON, mixed=True)))
        network = pl_module.network.eval()
        predicted = network(batch.image[:NUM_PICTURES].to(pl_module.device))
        network.train()
        confidence = pl_module.history[-1][FIXED_ON]["confidence"]
        pictures = [
            draw(image, true, boxes["boxes"].cpu(), boxes["scores"].cpu(), confidence=confidence)
            for image, true, boxes in zip(batch.image, batch.boxes, predicted, strict=False)
        ]
        grid = make_grid(pictures, nrow=8, padding=4, pad_value=255)
        writer.add_image(f"boxes/{FIXED_ON}", grid, pl_module.current_epoch + 1)


def draw(
    image: Tensor, true: Tensor, boxes: Tensor, scores: Tensor, *, confidence: float
) -> Tensor:
    """Returns (3, H, W) uint8 of a (1, S, S) uint8 image with its boxes, (N, 4) and (M, 4)."""
    zoom = max(1, round(SIDE / image.shape[-1]))
    picture = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2).expand(3, -1, -1)
    counts = scores >= confidence
    if len(true):
        picture = draw_bounding_boxes(picture, true * zoom, colors=TRUE, width=2)
    if counts.any():
        labels = [f"{value:.2f}" for value in scores[counts]]
        picture = draw_bounding_boxes(
            picture, boxes[counts] * zoom, labels, colors=PREDICTED, width=2
        )
    return picture.contiguous()
