"""The settings of a run: their types, and the rules that several of them must meet together.

A section may hold more than is named here: the rest are arguments of the object that its _target_
names, which checks them when it is built.
"""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    ValidationError,
)

from pneumo.choices import ARGMAX, AT_SENSITIVITY
from pneumo.evaluation.scores import MONITORED
from pneumo.runs.run_folder import wrong_scales
from pneumo.runs.tasks import DETECTION

TAG = re.compile(r"(constrained-)?(int|float)$|list\[")  # pydantic's name of one of several types
MAX_SEED = 10**14  # torch's seed has 64 bits, and is made of this and the epoch
SPLITS = ("train", "val", "test")
BOX_SCORES = ("challenge", "map")  # those of MONITORED that only task=detection has
SCORES = tuple(name for name in MONITORED if name not in BOX_SCORES)  # of each split and epoch
# By task: the scores that may be followed, and the one that a search maximises
FOLLOWED = {"classification": SCORES, "detection": tuple(MONITORED)}
MAIN_SCORES = {"classification": "f1_normal", "detection": "challenge"}
LAST = "last"  # in place of a score: the last epoch is kept, nothing is selected
# Settings that choose the epoch and do not change the training
CHOOSING = ("callbacks.checkpoint.monitor", "callbacks.lines.monitor")
NO_CHECKPOINT = (
    "callbacks.checkpoint must be set, since it keeps the weights: callbacks=[default,…]"
)
DETECTOR = "pneumo.models.detector.Detector"
FORBIDDEN = {  # arguments of the Trainer that a run cannot have, and why
    "num_nodes": "a run has the devices of one machine, trainer.devices",
    "strategy": "several devices, trainer.devices=N, train by DDP",
    "max_steps": "a run ends after trainer.max_epochs",
    "limit_test_batches": "trainer.limit_val_batches is also that of the test split",
    "fast_dev_run": "it leaves no checkpoint to score; trainer=one_batch is as short",
    "val_check_interval": "an epoch is scored at its end",
    "num_sanity_val_steps": "only whole epochs are scored",
}


def direction(monitor: str) -> str:
    """Returns "min" or "max": which value of a score such as loss/val is best."""
    score = MONITORED.get(monitor.partition("/")[0])
    return "max" if score is None or score.higher_is_better else "min"


SCORE = f"({'|'.join(MONITORED)})/({'|'.join(SPLITS)})"
Monitor = Annotated[str, StringConstraints(pattern=f"^{SCORE}$")]
Choice = Annotated[str, StringConstraints(pattern=f"^({LAST}|{SCORE})$")]
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
Share = Annotated[float, Field(gt=0, lt=1)]
Side = Annotated[int, Field(ge=32, le=4096)]  # pixels
Batches = Annotated[int | float, Field(gt=0)]  # a number, or a share of an epoch
PatientKey = Literal["person", "split_person", "series"]


class Section(BaseModel):
    """Some settings."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        strict=True,  # true is no number, and "no" is not false
        allow_inf_nan=False,
        # pydantic takes no field that begins with _: _target_ is target_
        alias_generator=lambda name: f"_{name}" if name.endswith("_") else name,
    )

    def plain(self, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
        """Returns the settings as they were given, except those named."""
        settings = self.model_dump(by_alias=True, exclude_unset=True)
        return {key: value for key, value in settings.items() if key not in without}


class Object(Section):
    """The settings of an object: its class or function, and the arguments."""

    target_: str


class Split(Object):
    """The function that splits patients."""

    val: Annotated[float, Field(ge=0, lt=1)] | None = None
    fractions: dict[Literal["train", "val", "test"], Share] | None = None


class Protocol(Section):
    """How patients are split, and on which split the epoch is chosen."""

    name: Name
    patient_key: PatientKey
    select_on: Literal["val", "test"]
    val: Annotated[float, Field(ge=0, lt=1)] | None = None
    k: Annotated[int, Field(ge=2)] | None = None
    fold: int | None
    split: Split

    def __str__(self) -> str:
        return f"protocol={self.name}" + " protocol.val=0" * (self.split.val == 0)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the protocol has."""
        return ("train", "test") if self.split.val == 0 else tuple(self.split.fractions or SPLITS)


class Progressive(Section):
    """Smaller training images in the first epochs."""

    side: Side
    share: Share  # of the epochs


class Data(Section):
    """Which images there are, and how they are read."""

    patient_key: PatientKey
    on_unknown_name: Literal["error", "skip"]
    image_size: Side
    aspect: Literal["stretch", "pad"]
    batch_size: PositiveInt
    num_workers: Annotated[int, Field(ge=0, le=512)]
    progressive: Progressive | None = None
    cache_dir: str
    source: Object


class Model(Object):
    """A network or a baseline."""

    name: Name
    image_size: Any = None  # of this package's networks


class Views(Section):
    """The views over which scores are averaged, see pneumo.models.views."""

    scales: list[float]
    mirror: bool


class Optimizer(Object):
    """Optimizer settings."""

    lr: PositiveFloat


class Schedule(Object):
    """Settings of the learning rate's schedule."""

    interval: Literal["epoch", "step"] = "epoch"
    monitor: Monitor | None = None


class Callback(Object):
    """A Lightning callback; the one named checkpoint keeps the weights."""

    monitor: Choice | None = None


class Trainer(Section):
    """Lightning's Trainer, which checks the arguments that are not named here."""

    accelerator: str
    devices: PositiveInt | list[NonNegativeInt]  # or GPUs by number
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    max_epochs: PositiveInt
    limit_train_batches: Batches | None = None
    limit_val_batches: Batches | None = None
    overfit_batches: PositiveInt | None = None
    accumulate_grad_batches: PositiveInt | None = None
    check_val_every_n_epoch: Literal[1] | None = None
    profiler: Literal["simple", "advanced", "pytorch"] | None = None

    @property
    def num_devices(self) -> int:
        """The number of devices, each with a process."""
        return self.devices if isinstance(self.devices, int) else len(self.devices)


class Config(Section):
    """All settings of a run."""

    task: Literal["classification", "detection"] = "classification"
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    num_threads: Annotated[int, Field(ge=1, le=1024)] | None
    run_dir: Annotated[str, StringConstraints(pattern="^[^~]")]  # Hydra would make a folder ~
    job_number: int | None = None  # of a run in a sweep
    tags: list[Name] = []
    recipe: Name | None = None
    init: str | None = None
    ensembles: dict[Name, Annotated[list[Name], Field(min_length=2)]] | None = None
    protocol: Protocol
    data: Data
    model: Model
    views: Views
    decision: Literal["argmax", "balanced", "sensitivity"]
    augment: Object
    loss: Object | None = None
    optimizer: Optimizer
    schedule: Schedule
    callbacks: dict[str, Callback]
    logger: dict[str, Object] | None = None
    trainer: Trainer

    @property
    def monitor(self) -> str:
        """The score that chooses the epoch, or LAST."""
        return self.callbacks["checkpoint"].monitor or LAST

    @property
    def monitors(self) -> dict[str, str]:
        """The score that each callback or schedule follows, or LAST, by the setting's key."""
        callbacks = {f"callbacks.{name}": c.monitor for name, c in self.callbacks.items()}
        followed = callbacks | {"schedule": self.schedule.monitor}
        return {f"{key}.monitor": monitor for key, monitor in followed.items() if monitor}

    @property
    def scores_each_epoch(self) -> bool:
        """Whether val and test are scored after each epoch."""
        followed = any(m.endswith(("/val", "/test")) for m in self.monitors.values())
        chosen = self.monitor != LAST or self.task == DETECTION
        return chosen or followed or self.trainer.check_val_every_n_epoch == 1


def read(settings: Mapping[str, Any]) -> Config:
    """Returns the settings of a run, typed; ``settings`` are plain and resolved.

    Raises:
        ValueError: some are of another type, out of range, missing, or contradict each other; a
            line for each.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise ValueError("\n".join(_lines(error))) from None
    if lines := list(_contradictions(config)):
        raise ValueError("\n".join(lines))
    return config


def _lines(error: ValidationError) -> list[str]:
    """Returns a line for each wrong setting: its key, what it must be, and its value.

    A setting that repeats another's value is left out, as callbacks.lines.monitor does.
    """
    texts: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        key = ".".join(str(part) for part in detail["loc"] if not TAG.match(str(part)))
        reason = re.sub(r"^\w+ should", "must", detail["msg"])
        is_missing = detail["type"] == "missing"
        text = "must be set" if is_missing else f"{reason}; got {shown(detail['input'])}"
        if is_missing or text not in texts.values():
            texts.setdefault(key, text)
    return [f"{key} {text}" for key, text in texts.items()]


def shown(value: Any) -> str:
    """Returns a value as one would write it in a setting, at most 100 characters of it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _contradictions(config: Config) -> Iterator[str]:
    """Yields a line for each setting that contradicts another, or that a run cannot have."""
    protocol, data, schedule = config.protocol, config.data, config.schedule
    model, number, fractions = config.model, config.trainer.num_devices, protocol.split.fractions
    folds = [None] if protocol.k is None else range(protocol.k)
    plateau = schedule.target_.endswith(".ReduceLROnPlateau")
    rules: dict[str, Any] = {
        f"model.image_size must be data.image_size, {data.image_size}; got {model.image_size}": (
            model.target_.startswith("pneumo.") and model.image_size not in (None, data.image_size)
        ),
        f"data.progressive.side must be below data.image_size, {data.image_size}": (
            data.progressive and data.progressive.side >= data.image_size
        ),
        f"protocol.fold must be null, except with protocol=kfold from 0 to {len(folds) - 1}; got "
        f"{shown(protocol.fold)}": protocol.fold not in folds,
        f"protocol.split.fractions must sum to 1; got {fractions}": (
            fractions and abs(sum(fractions.values()) - 1) > 1e-9
        ),
        f"data.batch_size must be at least two images for each of {number} devices; got "
        f"{data.batch_size}": number > 1 and data.batch_size < 2 * number,  # see batch_sizes
        "schedule must have a monitor, such as loss/train, and interval=epoch": (
            plateau and (schedule.monitor is None or schedule.interval == "step")
        ),
        f"decision=sensitivity needs a validation split: protocol=holdout; got {protocol}": (
            config.decision == AT_SENSITIVITY and "val" not in protocol.splits
        ),
        f"model={model.name} is a detector, which needs task=detection": (
            config.task == "classification" and model.target_ == DETECTOR
        ),
    }
    if config.task == "detection":
        views = config.views.mirror or config.views.scales != [1]
        of_detectors = {
            "model must be a detector, such as retinanet,": (
                model.target_.startswith("pneumo.baselines.")
            ),
            "loss must be null, since a detector has its own,": config.loss,
            "init must be null": config.init,
            "callbacks must be without finetune": "finetune" in config.callbacks,
            "data.progressive must be null": data.progressive,
            "decision must be argmax": config.decision != ARGMAX,
            "views must be one, with views.mirror=false and views.scales=[1],": views,
            f"{protocol} must have a validation split, on which the confidence of boxes is fixed, "
            "such as holdout,": "val" not in protocol.splits,
        }
        rules |= {f"{rule} with task=detection": wrong for rule, wrong in of_detectors.items()}
    yield from (rule for rule, is_broken in rules.items() if is_broken)
    if wrong := wrong_scales(config.views.scales, image_size=data.image_size):
        yield f"views.scales {wrong}"
    for name, reason in FORBIDDEN.items():
        if value := (config.trainer.model_extra or {}).get(name):
            yield f"trainer.{name} must be left out, since {reason}; got {shown(value)}"
    yield from _wrong_monitors(config)


def _wrong_monitors(config: Config) -> Iterator[str]:
    if "checkpoint" not in config.callbacks:
        yield NO_CHECKPOINT
    for key, monitor in config.monitors.items():
        if key not in CHOOSING and (monitor == LAST or monitor.endswith("/test")):
            yield (
                f"{key} must be a score of the train or the validation split, since nothing is "
                f"trained by the test split; got {monitor}. Set {key}=loss/train, or loss/val with "
                "a protocol that has a validation split, such as holdout"
            )
    first = {m: key for key, m in reversed(config.monitors.items()) if m != LAST}
    for monitor, key in first.items():
        score, _, split = monitor.partition("/")
        if split not in config.protocol.splits:
            yield (
                f"{key} must name a split of {config.protocol}, which has "
                f"{', '.join(config.protocol.splits)}; got {monitor}. protocol=holdout has train, "
                "val, test; callbacks.checkpoint.monitor=last selects nothing"
            )
        if score not in FOLLOWED[config.task]:
            yield f"{key} must be a score of images, or task=detection; got {monitor}"
        if score == "map" and not find_spec("pycocotools"):
            yield f"{key}={monitor} needs pycocotools: pip install 'pneumo[detection]'"
