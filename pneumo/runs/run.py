"""A run: a folder that pneumo.train wrote, or a network of the package. Reads, never writes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pneumo import untrusted
from pneumo.runs import pretrained, run_folder, tasks
from pneumo.runs.metrics import COPY_AGAIN, External, Metrics, read_externals, read_metrics

if TYPE_CHECKING:  # seconds that a mistyped name need not wait for
    import pandas as pd

    from pneumo.models.base import Network
    from pneumo.models.detector import Detector
    from pneumo.models.views import Views
    from pneumo.runs.tables import ImageBoxes


@dataclass(frozen=True)
class Run:
    """A run folder; each file is read and checked on first use."""

    run_dir: Path
    name: str  # in messages: the folder as the user named it, or pretrained:NAME

    @classmethod
    def open(cls, place: str | Path, *, name: str | None = None) -> Self:
        """Returns the run in a folder, or the network of the package pretrained:NAME.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: the package has no such network, or the configuration is broken.

        >>> run = Run.open("pretrained:compact-robust")
        >>> run.metrics["data"]["kind"], len(run.of_split("test"))
        ('kermany', 624)
        """
        run_dir = pretrained.find(place)
        run = cls(run_dir, name or str(run_dir))
        if run.is_shipped and name is None:
            run = cls(run_dir, pretrained.PREFIX + run_dir.name)
        _ = run.config
        return run

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, its interpolations not resolved."""
        return run_folder.read_config(self.run_dir)

    @cached_property
    def status(self) -> run_folder.Status:
        """status.json."""
        return run_folder.read_status(self.run_dir)

    @cached_property
    def metrics(self) -> Metrics:
        """metrics.json; FileNotFoundError if the run is not finished, ValueError if broken."""
        return read_metrics(self.run_dir)

    @property
    def task(self) -> str:
        """The task: classification or detection."""
        return tasks.task_of(self.metrics)

    @property
    def is_shipped(self) -> bool:
        """Whether the run is part of the package, and is never written to."""
        return self.run_dir.parent == pretrained.FOLDER

    def required(self, key: str) -> Any:
        """Returns the value of a key of metrics.json; ValueError if it is missing or null."""
        value = self.metrics.get(key)
        if value is None:
            path = self.run_dir / run_folder.METRICS
            raise ValueError(f"{path} must have the key {key}. {COPY_AGAIN}")
        return value

    @cached_property
    def split(self) -> "pd.DataFrame":
        """split.csv: path, patient, group, label, subtype, source, split."""
        from pneumo.data import split
        from pneumo.runs.tables import read_images

        table = read_images(self.run_dir / run_folder.SPLIT, split.COLUMNS)
        if split.digest(table) != self.metrics["data"].get("split_sha256"):
            raise ValueError(
                f"{self.run_dir / run_folder.SPLIT} must be the split whose digest is in "
                f"metrics.json; it is another. {COPY_AGAIN}"
            )
        return table

    @property
    def train_sha256(self) -> str:
        """The digest of the train split."""
        from pneumo.data import split

        return split.digest(self.split[self.split["split"] == "train"])

    @property
    def trained_at(self) -> float:
        """The share of PNEUMONIA that the network's probabilities are for, see pneumonia_share."""
        from pneumo.data.kermany import pneumonia_share

        train, metrics = self.split[self.split["split"] == "train"], self.metrics
        weights = (self.config.get("loss") or {}).get("class_weights")
        if metrics.get("baseline"):
            return pneumonia_share(train)
        classes = metrics.get("num_classes") or 2
        return pneumonia_share(train, num_classes=classes, class_weights=weights)

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """predictions.csv of the best checkpoint: path, patient, label, split, p_pneumonia."""
        from pneumo.runs.tables import read_predictions

        return read_predictions(self.run_dir / run_folder.PREDICTIONS)

    @cached_property
    def scored(self) -> "pd.DataFrame":
        """Every validation and test image: the columns of split.csv, and p_pneumonia."""
        predictions = self.predictions[["path", "split", "p_pneumonia"]]
        joined = self.split.merge(predictions, on=["path", "split"])
        expected = int(self.split["split"].isin(("val", "test")).sum())
        if not len(joined) == len(predictions) == expected:
            raise ValueError(
                f"{self.run_dir / run_folder.PREDICTIONS} must have a row for each of the "
                f"{expected:,} validation and test images of split.csv, and no other; of "
                f"{len(predictions):,} rows {len(joined):,} are. {COPY_AGAIN}"
            )
        return joined

    def of_split(self, name: str) -> "pd.DataFrame":
        """Returns the rows of ``scored`` of one split, sorted by path."""
        rows = self.scored[self.scored["split"] == name]
        return rows.sort_values("path", ignore_index=True)

    def rescored(self, scored: "pd.DataFrame") -> "Run":
        """Returns this run with other probabilities, such as those of the last checkpoint."""
        run = replace(self)
        run.__dict__["scored"] = scored  # in place of the cached property
        return run

    @cached_property
    def boxes(self) -> "ImageBoxes":
        """boxes.csv of a detector: true and predicted boxes of validation and test images."""
        from pneumo.runs.tables import read_boxes

        return read_boxes(self.run_dir / run_folder.BOXES, self.predictions)

    @property
    def confidence(self) -> float:
        """The score from which a detector's box counts, fixed on its validation split."""
        return float(self.required("confidence"))

    @property
    def decision(self) -> str:
        """The decision rule of a classifier, one of RULES."""
        return str(self.required("decision"))

    @cached_property
    def assessment(self) -> dict[str, Any]:
        """The assessment in metrics.json; computed if its intervals are of an earlier method."""
        from pneumo.evaluation.assessment import assess_run
        from pneumo.evaluation.intervals import METHOD

        written = self.metrics.get("assessment") or {}
        about = written.get("interval")
        if isinstance(about, dict) and about.get("method") == METHOD:
            return written
        rule = {"protocol": self.metrics["protocol"], "decision": self.decision}
        return assess_run(self.scored, **rule, trained_at=self.trained_at)

    @cached_property
    def external(self) -> dict[str, External]:
        """The kept scores on images of other sources, by name."""
        return read_externals(self.run_dir)

    @property
    def image_folder(self) -> Path | None:
        """The folder of the run's images by its configuration, or None; it may be missing."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        from pneumo.data.sets import images_of

        try:
            data = OmegaConf.create({"data": self.config["data"]}).data
            source: Any = OmegaConf.to_container(data.source, resolve=True)
            return images_of(source if isinstance(source, dict) else {})
        # OSError of a name that is too long, RuntimeError of ~nosuchuser
        except (OmegaConfBaseException, KeyError, AttributeError, TypeError, OSError, RuntimeError):
            return None

    def images(self) -> Path | None:
        """Returns the folder of the run's images if all of split.csv are there, or None.

        Nothing is generated or downloaded.
        """
        folder = self.image_folder
        complete = folder and all(untrusted.is_file(folder / path) for path in self.split["path"])
        return folder if complete else None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """model, views, image_size and aspect of the configuration, resolved."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            config = OmegaConf.create({key: self.config[key] for key in ("model", "views", "data")})
            model: Any = OmegaConf.to_container(config.model, resolve=True)
            views: Any = OmegaConf.to_container(config.views, resolve=True)
            size, aspect = int(config.data.image_size), str(config.data.aspect)
        except (OmegaConfBaseException, KeyError, AttributeError, ValueError, TypeError) as error:
            path = self.run_dir / run_folder.CONFIG
            raise ValueError(f"{path} lacks or breaks {error}") from None
        return {"model": model, "views": views, "image_size": size, "aspect": aspect}

    @property
    def views(self) -> "Views":
        """The views of an image, over which logits, features and maps are averaged."""
        from pneumo.models.views import Views

        try:
            return Views(**self.settings["views"])
        except TypeError as error:
            path = self.run_dir / run_folder.CONFIG
            raise ValueError(f"{path} does not fit this version: {error}") from None

    @property
    def image_size(self) -> int:
        """The side of a prepared image, in pixels."""
        return int(self.settings["image_size"])

    @property
    def aspect(self) -> str:
        """How an image is prepared: stretch or pad."""
        return str(self.settings["aspect"])

    def network(self, checkpoint: str = "best", *, trust: Sequence[str] = ()) -> "Network":
        """Returns the network of a classifier, on the CPU in evaluation mode.

        It maps (B, 1, S, S) grey values from 0 to 255 to logits.

        Args:
            checkpoint: "best", chosen by the rule in metrics.json, or "last".
            trust: packages whose networks may be built, too.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the run is a detector or a baseline, its configuration names an unknown
                class, a file is broken, the checkpoint does not fit the configuration, or this
                version prepares images differently.
        """
        from pneumo.runs.network import load

        tasks.check_classifier(self, "this needs a classifier")
        return load(self, checkpoint, trust=trust)

    def detector(self, checkpoint: str = "best", *, trust: Sequence[str] = ()) -> "Detector":
        """Returns the network of a detector; see `network`."""
        from pneumo.runs.network import load_detector

        return load_detector(self, checkpoint, trust=trust)
