"""Finished classifiers predict radiographs: probabilities, decisions, out-of-distribution flags."""

from collections.abc import Iterator, Sequence

import numpy as np

from pneumo import cli
from pneumo.data.reader import Radiograph
from pneumo.evaluation.operating_point import calibrated
from pneumo.inference import ood
from pneumo.inference.decision import decide
from pneumo.inference.local_calibration import read_calibration
from pneumo.inference.networks import Networks, Scored
from pneumo.inference.prediction import Predictor, Row
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs.network import weights_digest
from pneumo.runs.run import Run


class Classifiers(Predictor):
    """The networks of finished classifiers and the decision for their mean.

    ``calibration``: of one run, by name or file, see pneumo.calibrate. Other arguments: see
    Networks and decide.

    Raises:
        FileNotFoundError, ValueError: a run is broken, or there is nothing to calibrate
            prediction sets on.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        checkpoint: str = "best",
        device: str = "auto",
        trust: Sequence[str] = (),
        threshold: float | None = None,
        calibration: str | None = None,
        coverage: float | None = None,
        ids: bool = False,
    ) -> None:
        super().__init__(runs, ids=ids)
        self.networks = Networks(runs, checkpoint=checkpoint, device=device, trust=trust)
        digest, local = weights_digest(self.networks.networks[0]), None
        self.reference = ood.load(runs[0].run_dir, weights_sha256=digest)
        if self.reference is None:
            cli.note(f"ood checks files only: {runs[0].name} has no {ood.FILE} of these weights")
        if calibration is not None:
            if len(runs) > 1:
                raise ValueError(
                    f"--calibration needs one run; got {len(runs)} runs. Name one of them"
                )
            local = read_calibration(runs[0].run_dir, calibration, weights_sha256=digest)
        options = {"threshold": threshold, "coverage": coverage}
        self.decision = decide(runs, checkpoint, calibration=local, **options)
        self.notes = self.decision.notes

    @property
    def columns(self) -> list[str]:
        """The columns of the table; p_bacteria and p_virus if every network has these classes."""
        return [
            *("path", "p_pneumonia", "decision", "ood", "ood_reason", "error"),
            *self.ids,
            *(("prediction_set",) if self.decision.sets is not None else ()),
            *("p_normal", "p_normal_calibrated", "p_pneumonia_calibrated"),
            *(("p_bacteria", "p_virus") if self.networks.distinguishes_types else ()),
            *("threshold", "threshold_from", "ood_score"),
        ]

    def cells(self, batch: Sequence[Radiograph]) -> Iterator[tuple[Row, list[str]]]:
        """Yields probabilities, decision and distance of each image, see Predictor."""
        scored = self.networks.score(batch)
        for place in range(len(batch)):
            row, far = self._probabilities(scored, place), list[str]()
            if self.reference is not None:
                of_image = scored.layout[place], scored.features[place]
                row["ood_score"], far = self.reference.judge(*of_image)
            yield row, far

    def _probabilities(self, scored: Scored, place: int) -> Row:
        decision, p = self.decision, float(scored.pneumonia[:, place].mean())
        row: Row = {"p_normal": 1 - p, "p_pneumonia": p}
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
        f"images (protocol={run.metrics['protocol']}) its decisions at "
        f"{point['threshold']:.3g} have a sensitivity of "
        f"{point['sensitivity']['value']:.3f} and a specificity of "
        f"{point['specificity']['value']:.3f}. Research use only, not a medical device"
    )
