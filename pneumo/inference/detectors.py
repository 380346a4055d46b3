"""Finished detectors predict radiographs: boxes, of several fused, their table and pictures."""

import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from PIL import Image, ImageDraw

from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.boxes import SIDES
from pneumo.data.reader import Radiograph
from pneumo.evaluation.detection import NO_BOX, WHY_NO_BOX
from pneumo.evaluation.metrics import Array
from pneumo.inference import album, fusion
from pneumo.inference.album import Album
from pneumo.inference.networks import pick_device
from pneumo.inference.prediction import Predictor, Row, Write, csv_writer
from pneumo.models.unet_encoder import without_tf32
from pneumo.runs.run import Run

RSNA = "rsna"  # the format of the challenge's submissions
RSNA_COLUMNS = ["patientId", "PredictionString"]
DIGITS = 4  # of a score and a pixel in the challenge's string
PIXEL_DIGITS = 2  # of a box's sides elsewhere
WIDTH = 800  # pixels of a picture
COLOUR = "#e69f00"


class Detectors(Predictor):
    """The networks of finished detectors on one device, and the confidence of their boxes.

    ``threshold``: from the user; None: fixed on validation. Other arguments: see Networks.
    """

    batch_size = 8  # Mask R-CNN makes a mask of the image's size for each box

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
        super().__init__(runs, ids=ids)
        self.device = pick_device(device)
        self.networks = [run.detector(checkpoint, trust=trust).to(self.device) for run in runs]
        if checkpoint != "best" and (threshold is None or len(runs) > 1):
            raise ValueError(
                "a detector's confidence, and weights of several, are fixed for its best "
                f"checkpoint; with --checkpoint {checkpoint} name one run and give --threshold"
            )
        self.weights, confidence, origin = [1.0], runs[0].confidence, f"of {runs[0].name}"
        if len(runs) > 1:
            about = fusion.fit(runs)
            self.weights, confidence = about["weights"], about["confidence"]
            shares = " ".join(f"{weight:.3f}" for weight in self.weights)
            origin = f"fused from {len(runs)} detectors with the weights {shares}"
        self.threshold = confidence if threshold is None else threshold
        source = "validation" if threshold is None else "given"
        self.common = {"threshold": self.threshold, "threshold_from": source}
        fixed = "as given" if threshold is not None else "fixed on validation images"
        note = f"boxes {origin} with a score of at least {self.threshold:.4f}, {fixed}"
        if threshold is None and confidence == NO_BOX:
            note = (
                f"no box counts {origin}: {WHY_NO_BOX}. Train for longer, or give --threshold to "
                "see boxes of a lower score"
            )
        self.notes = [f"{note}. Not a medical device"]

    @property
    def columns(self) -> list[str]:
        """The keys of a row; boxes is a list of the score and the sides in pixels of the file."""
        keys = ("boxes", "threshold", "threshold_from", "ood", "ood_reason", "error")
        return ["path", *self.ids, *keys]

    def cells(self, batch: Sequence[Radiograph]) -> Iterator[tuple[Row, list[str]]]:
        """Yields the boxes of each image, the most confident first; see Predictor."""
        for image in zip(*(self._predicted(n, batch) for n in range(len(self.runs))), strict=True):
            boxes, scores = image[0]
            if len(image) > 1:
                boxes, scores = fusion.weighted_box_fusion(
                    *zip(*image, strict=True), weights=self.weights
                )
            counts = scores >= self.threshold
            of_image = zip(boxes[counts].round(PIXEL_DIGITS), scores[counts], strict=True)
            named = [
                {"score": float(score), **dict(zip(SIDES, sides.tolist(), strict=True))}
                for sides, score in of_image
            ]
            yield {"boxes": named}, []

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

    def writer(self, file: TextIO, *, form: str, attachments: Sequence[str]) -> Write:
        """Returns a function that writes a row; ``form``: csv (one row per box), jsonl or rsna."""
        if form == "jsonl":
            return super().writer(file, form=form, attachments=attachments)
        if form == RSNA:
            write_rsna = csv_writer(file, RSNA_COLUMNS)

            def write_string(row: Row) -> None:
                if row["error"]:  # an empty string would mean that there is no box
                    sys.stderr.write(f"note: no row for {row['path']}: {row['error']}\n")
                else:
                    values = (Path(row["path"]).stem, prediction_string(row["boxes"]))
                    write_rsna(dict(zip(RSNA_COLUMNS, values, strict=True)))

            return write_string
        at = self.columns.index("boxes") + 1
        columns = [*self.columns[:at], "score", *SIDES, *self.columns[at:-1], *attachments, "error"]
        write_csv = csv_writer(file, columns)

        def write_boxes(row: Row) -> None:
            boxes = row["boxes"]
            common = {**row, "boxes": None if boxes is None else len(boxes)}
            for box in boxes or [{}]:  # an image without a box has a row, too
                write_csv(common | box)

        return write_boxes


def prediction_string(boxes: Sequence[Mapping[str, float]]) -> str:
    """Returns the challenge's string: confidence x y width height of each box.

    >>> prediction_string([{"score": 0.9, "x_min": 10, "y_min": 20, "x_max": 40, "y_max": 25.5}])
    '0.9 10 20 30 5.5'
    """
    numbers = [
        number
        for box in boxes
        for number in (
            *(box["score"], box["x_min"], box["y_min"]),
            *(box["x_max"] - box["x_min"], box["y_max"] - box["y_min"]),
        )
    ]
    return " ".join(f"{round(number, DIGITS):g}" for number in numbers)


def check_patients(names: Sequence[str]) -> None:
    """Raises ValueError unless each image is a patient of its own, named by the file's stem."""
    times = Counter(Path(name).stem for name in names)
    for name in names:
        if name == reader.STANDARD_INPUT or times[Path(name).stem] > 1:
            raise ValueError(
                "--format rsna writes one row per patient, named by the file name without its "
                f"ending; {name} has no unique name. Name each patient once, or use csv or jsonl"
            )


def overlays(out: Path, names: Sequence[str]) -> AbstractContextManager[Album]:
    """Returns the album of ``names`` in ``out``; ValueError if ``out`` holds something else."""
    album.check(out, "--overlays", column="overlay")
    return album.opened(out, names, draw, column="overlay", suffix=".boxes.png")


def draw(radiograph: Radiograph, pixels: np.ndarray, row: Row) -> tuple[bytes, dict[str, Any]]:
    """Returns a PNG of a radiograph with the boxes of its row and their scores, and its entry."""
    sides = np.array([[box[side] for side in SIDES] for box in row["boxes"]]).reshape(-1, 4)
    width, height = radiograph.size
    if radiograph.name == reader.STANDARD_INPUT:  # drawn as prepared
        size, aspect = next(iter(radiograph.prepared))
        sides = geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
        width = height = size
    scale = WIDTH / width
    picture = Image.fromarray(pixels).convert("RGB").resize((WIDTH, max(1, round(height * scale))))
    pen = ImageDraw.Draw(picture)
    for box, corners in zip(row["boxes"], (sides * scale).tolist(), strict=True):
        text = f"{box['score']:.2f}"
        pen.rectangle(corners, outline=COLOUR, width=2)
        place = corners[0] + 5, corners[1] + 3
        pen.text(place, text, COLOUR, font_size=14, stroke_width=2, stroke_fill="black")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue(), {"boxes": len(row["boxes"])}
