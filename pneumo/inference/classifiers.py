"""Finished classifiers predict radiographs: probabilities, decisions, out-of-distribution flags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

import numpy as np

from pneumo.data.dicom_header import IDS
from pneumo.data.reader import Radiograph, Shape
from pneumo.evaluation.operating_point import calibrated
from pneumo.inference import ood, reference
from pneumo.inference.decision import Decision, decide
from pneumo.inference.local_calibration import read_calibration
from pneumo.inference.networks import Networks, Scored
from pneumo.inference.prediction import Write, csv_writer, json_writer
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import output
from pneumo.runs.run import Run
from pneumo.runs.weights import weights_digest


@dataclass(frozen=True)
class Classifiers:
    """The networks of some runs and the decision for their mean."""

    networks: Networks
    decision: Decision
    ids: bool  # whether rows have the columns of pneumo.data.dicom_header.IDS
    threads: int  # that decode the runs' own images
    batch_size: int = 32  # images at once through a network

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on the origin of the decision."""
        return self.decision.notes

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that radiographs must be prepared in."""
        return self.networks.shapes

    @cached_property
    def reference(self) -> ood.Reference | None:
        """The reference of the first run's own images; computed if the run folder lacks it."""
        return reference.of_first_run(self.networks, threads=self.threads)

    def writer(self, file: TextIO, *, form: str, attachments: Sequence[str]) -> Write:
        """Returns a function that writes a row; ``form``: csv or jsonl."""
        if form == "jsonl":
            return json_writer(file)
        return csv_writer(file, [*self.columns, *attachments])

    @property
    def columns(self) -> list[str]:
        """The columns of the table; p_bacteria and p_virus if every network has these classes."""
        return [
            *("path", "p_pneumonia", "decision", "ood", "ood_reason", "error"),
            *(IDS if self.ids else ()),
            *(("prediction_set",) if self.decision.sets is not None else ()),
            *("p_normal", "p_normal_calibrated", "p_pneumonia_calibrated"),
            *(("p_bacteria", "p_virus") if self.networks.distinguishes_types else ()),
            *("threshold", "threshold_from", "ood_score"),
        ]

    def rows(self, batch: Sequence[Radiograph]) -> Iterator[dict[str, Any]]:
        """Yields a row for each radiograph, by column; unknown values are None."""
        readable = [radiograph for radiograph in batch if not radiograph.error]
        scored = self.networks.score(readable) if readable else None
        places = iter(range(len(readable)))
        data = [run.metrics["data"] for run in self.networks.runs]
        for radiograph in batch:
            row: dict[str, Any] = dict.fromkeys(self.columns)
            row |= {
                "path": output.printable(radiograph.name),
                "error": output.printable(radiograph.error) or None,
                **(radiograph.header.ids if self.ids else {}),
            }
            reasons = ood.file_reasons(radiograph, data)
            if scored is not None and not radiograph.error:
                place = next(places)
                row |= self._probabilities(scored, place)
                if self.reference is not None:
                    of_image = scored.layout[place], scored.features[place]
                    row["ood_score"], far = self.reference.judge(*of_image)
                    reasons += far
            yield row | ood.flag(reasons, is_readable=not radiograph.error)

    def _probabilities(self, scored: Scored, place: int) -> dict[str, Any]:
        decision, p = self.decision, float(scored.pneumonia[:, place].mean())
        row: dict[str, Any] = {"p_normal": 1 - p, "p_pneumonia": p}
        if self.networks.distinguishes_types:
            mean = np.mean([each[place] for each in scored.classes], axis=0)
            row |= {"p_bacteria": float(mean[1]), "p_virus": float(mean[2])}
        if decision.temperature is not None:
            after = float(calibrated([p], temperature=decision.temperature)[0])
            row |= {"p_normal_calibrated": 1 - after, "p_pneumonia_calibrated": after}
        if decision.sets is not None:
            row["prediction_set"] = decision.sets.name(p)
        return row | {
            "decision": PNEUMONIA if p >= decision.threshold else NORMAL,
            "threshold": decision.threshold,
            "threshold_from": decision.threshold_from,
        }


def about_default(run: Run) -> str:
    """Returns the note on a network that the user did not name."""
    point = run.assessment["operating_point"]
    return (
        f"no RUN is named, so {run.name} predicts. On its {len(run.of_split('test')):,} test "
        f"images (protocol={run.metrics['protocol']}) its decisions have a sensitivity of "
        f"{point['sensitivity']['value']:.3f} and a specificity of "
        f"{point['specificity']['value']:.3f}. Research use only, not a medical device"
    )


def open_classifiers(
    runs: Sequence[Run],
    *,
    checkpoint: str = "best",
    device: str = "auto",
    trust: Sequence[str] = (),
    threshold: float | None = None,
    calibration: str | None = None,
    coverage: float | None = None,
    ids: bool = False,
    threads: int,
) -> Classifiers:
    """Returns the networks of finished classifiers and the decision for their mean.

    ``calibration``: of one run, by name or file, see pneumo.calibrate. Other arguments: see
    Networks, decide and Classifiers.

    Raises:
        FileNotFoundError, ValueError: a run is broken, or there is nothing to calibrate
            prediction sets on.
    """
    networks = Networks(runs, checkpoint=checkpoint, device=device, trust=trust)
    local = None
    if calibration is not None:
        if len(runs) > 1:
            raise ValueError(f"--calibration needs one run; got {len(runs)} runs. Name one of them")
        digest = weights_digest(networks.networks[0])
        local = read_calibration(runs[0].run_dir, calibration, weights_sha256=digest)
    decision = decide(runs, checkpoint, threshold=threshold, calibration=local, coverage=coverage)
    return Classifiers(networks, decision, ids, threads)
