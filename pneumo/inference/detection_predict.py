"""Finished detectors and image files become boxes: what pneumo.predict does with a detector."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from pneumo import cli
from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.reader import Radiograph, Shape
from pneumo.evaluation.detection import NO_BOX, WHY_NO_BOX
from pneumo.evaluation.metrics import Array
from pneumo.inference import box_table, ensemble, fusion, ood
from pneumo.models.unet_encoder import without_tf32
from pneumo.runs import detection_run, output
from pneumo.runs.checkpoint import load_detector

if TYPE_CHECKING:  # matplotlib, for pictures only
    from pneumo.inference.box_album import BoxAlbum

BATCH_SIZE = 8  # images; Mask R-CNN makes a mask of the image's size for each box


def predict(run_dirs: Sequence[Path], names: Sequence[str], given: argparse.Namespace) -> int:
    """Writes the boxes of images; returns 3 if a file could not be read or drawn, else 0.

    Args:
        run_dirs: finished detectors; the boxes of several are fused.
        names: files, or - for standard input.
        given: the command's options.

    Raises:
        FileNotFoundError, ValueError: a run is broken, an option is not one of detectors, or two
            images would be one patient of the challenge.
    """
    _check_options(given)
    form = given.format or ("jsonl" if given.out and given.out.suffix == ".jsonl" else "csv")
    if form == box_table.RSNA:
        if given.ids:
            raise ValueError("--format rsna has no columns for --ids. Leave one of them out")
        box_table.check_patients(names)
    detectors = Detectors(run_dirs, given)
    sys.stderr.write(f"note: {detectors.note}\n")
    album = _album(given, names)
    threads = given.threads or os.cpu_count() or 1
    stream = reader.read_all(names, shapes=detectors.shapes, threads=threads)
    errors = undrawn = 0
    with output.opened(given.out, standard=sys.stdout) as file, _progress(len(names)) as bar:
        write = box_table.writer(file, form=form, overlays=album is not None, ids=given.ids)
        for batch in ensemble.batches(stream, batch_size=given.batch_size or BATCH_SIZE):
            for radiograph, row in zip(batch, detectors.rows(batch), strict=True):
                if album is not None:
                    shown = None if radiograph.error else album.add(radiograph, row["boxes"])
                    row["overlay"] = shown
                    undrawn += shown is None and not radiograph.error
                write(row)
                errors += bool(radiograph.error)
            bar.update(len(batch))
    if album is not None:
        album.write_list()
    if errors:
        sys.stderr.write(
            f"note: {errors:,} of {cli.counted(len(names), 'file')} could not be read"
            + ("\n" if form == box_table.RSNA else ": see error\n")
        )
    return cli.UNREADABLE if errors or undrawn else 0


@dataclass(frozen=True)
class Point:
    """From which score on a box counts, and how several detectors' boxes become one's."""

    threshold: float
    threshold_from: str  # validation, or given
    weights: list[float]  # of the detectors
    note: str


class Detectors:
    """The networks of some detectors' runs on one device."""

    def __init__(self, run_dirs: Sequence[Path], given: argparse.Namespace) -> None:
        self.device = ensemble.pick_device(given.device)
        self.trained = [
            load_detector(one, checkpoint=given.checkpoint, trust=given.trust) for one in run_dirs
        ]
        for each in self.trained:
            each.network.to(self.device)
        self.ids = given.ids
        confidence = self.trained[0].confidence
        self.point = _point(run_dirs, given, confidence=confidence)

    @property
    def note(self) -> str:
        """What the user should know of the boxes."""
        return self.point.note

    @property
    def shapes(self) -> list[Shape]:
        """What the radiographs must be prepared for."""
        return list(dict.fromkeys((each.image_size, each.aspect) for each in self.trained))

    def rows(self, batch: Sequence[Radiograph]) -> Iterator[dict[str, Any]]:
        """Yields what is said of each image; boxes in pixels of the file, surest first."""
        whole = [radiograph for radiograph in batch if not radiograph.error]
        found = iter(self._boxes(whole) if whole else ())
        data = [each.metrics["data"] for each in self.trained]
        for radiograph in batch:
            row = {
                "path": output.printable(radiograph.name),
                **(radiograph.header.ids if self.ids else {}),
                "boxes": None if radiograph.error else [box_table.box(*one) for one in next(found)],
                "threshold": self.point.threshold,
                "threshold_from": self.point.threshold_from,
                **ood.flag(ood.file_reasons(radiograph, data), is_readable=not radiograph.error),
                "error": output.printable(radiograph.error) or None,
            }
            yield row

    def _boxes(self, batch: Sequence[Radiograph]) -> Iterator[list[tuple[Array, float]]]:
        members = [self._one(number, batch) for number in range(len(self.trained))]
        for image in zip(*members, strict=True):
            boxes, scores = image[0]
            if len(image) > 1:
                boxes, scores = _fused(image, self.point.weights)
            counts = scores >= self.point.threshold
            yield list(zip(boxes[counts], scores[counts].tolist(), strict=True))

    @torch.inference_mode()
    def _one(self, number: int, batch: Sequence[Radiograph]) -> list[tuple[Array, Array]]:
        """Boxes (N, 4) of one network in pixels of the files, and scores (N,), of each image."""
        one = self.trained[number]
        pixels = np.stack([each.prepared[one.image_size, one.aspect] for each in batch])
        with without_tf32():
            answers = one.network(torch.from_numpy(pixels)[:, None].to(self.device))
        found = []
        for radiograph, answer in zip(batch, answers, strict=True):
            boxes, scores = (answer[k].double().cpu().numpy() for k in ("boxes", "scores"))
            boxes = geometry.to_file(boxes, radiograph.size, size=one.image_size, aspect=one.aspect)
            there = (boxes[:, :2] < boxes[:, 2:]).all(1)  # not in the padding
            found.append((boxes[there], scores[there]))
        return found


def _fused(image: Sequence[tuple[Array, Array]], weights: Sequence[float]) -> tuple[Array, Array]:
    """The boxes of several detectors by weighted box fusion; those of weight 0 are left out."""
    used = [(*one, weight) for one, weight in zip(image, weights, strict=True) if weight > 0]
    boxes, scores, weight = zip(*used, strict=True)
    return fusion.weighted_box_fusion(boxes, scores, weights=weight)


def _point(run_dirs: Sequence[Path], given: argparse.Namespace, *, confidence: float) -> Point:
    if given.checkpoint != "best" and (given.threshold is None or len(run_dirs) > 1):
        raise ValueError(
            "a detector's confidence, and weights of several, are fixed for its best checkpoint; "
            f"with --checkpoint {given.checkpoint} name one run and give --threshold"
        )
    weights, told = [1.0], f"of {run_dirs[0]}"
    if len(run_dirs) > 1:
        runs = [detection_run.read(one, name=str(one)) for one in run_dirs]
        about = fusion.fit(runs, method="wbf")
        weights, confidence = about["weights"], about["confidence"]
        shares = " ".join(f"{weight:.3f}" for weight in weights)
        told = f"fused from {len(runs)} detectors with the weights {shares}"
    fixed = given.threshold is None
    at = confidence if fixed else given.threshold
    source = "fixed on validation images" if fixed else "as given"
    note = f"boxes {told} with a score of at least {at:.4f}, {source}. Not a medical device"
    if fixed and at == NO_BOX:
        way = "Train for longer, or give --threshold to see boxes of a lower score"
        note = f"no box counts {told}: {WHY_NO_BOX}. {way}. Not a medical device"
    return Point(at, "validation" if fixed else "given", weights, note)


def _album(given: argparse.Namespace, names: Sequence[str]) -> "BoxAlbum | None":
    if given.overlays is None:
        return None
    from pneumo.inference.box_album import BoxAlbum

    return BoxAlbum(given.overlays, names)


def _check_options(given: argparse.Namespace) -> None:
    """Raises ValueError where an option is given that says nothing of boxes."""
    of_classifiers = {
        "--heatmap": given.heatmap,
        "--dicom-sr": given.dicom_sr,
        "--keep-patient": given.keep_patient or None,
        "--calibration": given.calibration,
        "--coverage": given.coverage,
    }
    for option, value in of_classifiers.items():
        if value is not None:
            more = "; --overlays DIR draws the boxes" if option == "--heatmap" else ""
            raise ValueError(
                f"{option} is of classifiers; a detector answers by boxes. Leave it out{more}"
            )


def check_not_given(given: argparse.Namespace) -> None:
    """Raises ValueError where an option of detectors is given for classifiers."""
    asked = {
        "--overlays": given.overlays is not None,
        "--format rsna": given.format == box_table.RSNA,
    }
    for option, is_given in asked.items():
        if is_given:
            raise ValueError(
                f"{option} is about the boxes of a detector (task=detection), and a classifier has "
                "none. Leave it out; --heatmap DIR draws where a classifier looked"
            )


def _progress(total: int) -> Any:
    return tqdm(total=total, desc="predicting", unit="image", disable=not sys.stderr.isatty())
