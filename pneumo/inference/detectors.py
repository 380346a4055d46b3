"""Finished detectors predict radiographs: boxes, of several detectors fused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import torch

from pneumo.data import boxes as geometry
from pneumo.data.reader import Radiograph, Shape
from pneumo.evaluation.detection import NO_BOX, WHY_NO_BOX
from pneumo.evaluation.metrics import Array
from pneumo.inference import box_table, fusion, ood
from pneumo.inference.networks import pick_device
from pneumo.inference.prediction import Write
from pneumo.models.unet_encoder import without_tf32
from pneumo.runs import output
from pneumo.runs.run import Run


@dataclass(frozen=True)
class BoxDecision:
    """The score from which a box counts, and the weights that fuse several detectors."""

    threshold: float
    threshold_from: str  # validation, or given
    weights: list[float]  # of the detectors
    note: str


class Detectors:
    """The networks of some detectors' runs on one device.

    Args:
        runs: finished detectors.
        checkpoint: best or last.
        device: auto, cpu or cuda.
        trust: packages whose networks the runs may name.
        threshold: from the user; None: fixed on validation.
        ids: whether rows have the identifiers of DICOM files.
    """

    batch_size = 8  # images; Mask R-CNN makes a mask of the image's size for each box

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        checkpoint: str = "best",
        device: str = "auto",
        trust: Sequence[str] = (),
        threshold: float | None = None,
        ids: bool = False,
    ) -> None:
        self.runs, self.ids, self.device = list(runs), ids, pick_device(device)
        self.networks = [run.detector(checkpoint, trust=trust).to(self.device) for run in runs]
        self.decision = _decision(runs, checkpoint, threshold)

    @property
    def notes(self) -> Sequence[str]:
        """The sentence on the origin of the decision."""
        return [self.decision.note]

    def writer(self, file: TextIO, *, form: str, attachments: Sequence[str]) -> Write:
        """Returns a function that writes a row; ``form``: csv, jsonl or rsna."""
        return box_table.box_writer(file, form=form, overlays=bool(attachments), ids=self.ids)

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that radiographs must be prepared in."""
        return list(dict.fromkeys((run.image_size, run.aspect) for run in self.runs))

    def rows(self, batch: Sequence[Radiograph]) -> Iterator[dict[str, Any]]:
        """Yields a row for each image; boxes in pixels of the file, most confident first."""
        readable = [radiograph for radiograph in batch if not radiograph.error]
        boxes = iter(self._boxes(readable) if readable else ())
        data = [run.metrics["data"] for run in self.runs]
        for radiograph in batch:
            of_image = None if radiograph.error else [box_table.box(*box) for box in next(boxes)]
            yield {
                "path": output.printable(radiograph.name),
                **(radiograph.header.ids if self.ids else {}),
                "boxes": of_image,
                "threshold": self.decision.threshold,
                "threshold_from": self.decision.threshold_from,
                **ood.flag(ood.file_reasons(radiograph, data), is_readable=not radiograph.error),
                "error": output.printable(radiograph.error) or None,
            }

    def _boxes(self, batch: Sequence[Radiograph]) -> Iterator[list[tuple[Array, float]]]:
        for image in zip(*(self._predicted(n, batch) for n in range(len(self.runs))), strict=True):
            boxes, scores = image[0]
            if len(image) > 1:
                boxes, scores = _fused(image, self.decision.weights)
            counts = scores >= self.decision.threshold
            yield list(zip(boxes[counts], scores[counts].tolist(), strict=True))

    @torch.inference_mode()
    def _predicted(self, number: int, batch: Sequence[Radiograph]) -> list[tuple[Array, Array]]:
        """Returns one network's boxes (N, 4) in pixels of the file, and scores, of each image."""
        size, aspect = self.runs[number].image_size, self.runs[number].aspect
        pixels = np.stack([each.prepared[size, aspect] for each in batch])
        with without_tf32():
            answers = self.networks[number](torch.from_numpy(pixels)[:, None].to(self.device))
        predicted = []
        for radiograph, answer in zip(batch, answers, strict=True):
            boxes, scores = (answer[k].double().cpu().numpy() for k in ("boxes", "scores"))
            boxes = geometry.to_file(boxes, radiograph.size, size=size, aspect=aspect)
            in_image = (boxes[:, :2] < boxes[:, 2:]).all(1)  # not in the padding
            predicted.append((boxes[in_image], scores[in_image]))
        return predicted


def _fused(image: Sequence[tuple[Array, Array]], weights: Sequence[float]) -> tuple[Array, Array]:
    """Returns the boxes of several detectors by weighted box fusion, without those of weight 0."""
    used = [(*pair, weight) for pair, weight in zip(image, weights, strict=True) if weight > 0]
    boxes, scores, weight = zip(*used, strict=True)
    return fusion.weighted_box_fusion(boxes, scores, weights=weight)


def _decision(runs: Sequence[Run], checkpoint: str, threshold: float | None) -> BoxDecision:
    if checkpoint != "best" and (threshold is None or len(runs) > 1):
        raise ValueError(
            "a detector's confidence, and weights of several, are fixed for its best checkpoint; "
            f"with --checkpoint {checkpoint} name one run and give --threshold"
        )
    weights, confidence, origin = [1.0], runs[0].confidence, f"of {runs[0].name}"
    if len(runs) > 1:
        about = fusion.fit(runs, method="wbf")
        weights, confidence = about["weights"], about["confidence"]
        shares = " ".join(f"{weight:.3f}" for weight in weights)
        origin = f"fused from {len(runs)} detectors with the weights {shares}"
    if threshold is None and confidence == NO_BOX:
        note = (
            f"no box counts {origin}: {WHY_NO_BOX}. Train for longer, or give --threshold to see "
            "boxes of a lower score"
        )
    else:
        fixed = "fixed on validation images" if threshold is None else "as given"
        least = confidence if threshold is None else threshold
        note = f"boxes {origin} with a score of at least {least:.4f}, {fixed}"
    note += ". Not a medical device"
    if threshold is not None:
        return BoxDecision(threshold, "given", weights, note)
    return BoxDecision(confidence, "validation", weights, note)
