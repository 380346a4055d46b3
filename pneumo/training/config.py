"""The settings of a run, typed. What goes together is checked in pneumo.training.settings.

A section may hold more than is named here: the rest are arguments of the object that its _target_
names, which checks them when it is built.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
)

from pneumo.evaluation.scores import MONITORED

MAX_SEED = 10**14  # torch's seed has 64 bits, and is made of this and the epoch
MAX_THREADS = 1024  # where the system refuses one of many, torch crashes
SPLITS = ("train", "val", "test")
BOX_SCORES = ("challenge", "map")  # those of MONITORED that only task=detection has
SCORES = tuple(name for name in MONITORED if name not in BOX_SCORES)  # of each split and epoch
# By task: the scores that may be followed, and the one that a search maximises
FOLLOWED = {"classification": SCORES, "detection": tuple(MONITORED)}
MAIN_SCORES = {"classification": "f1_normal", "detection": "challenge"}
LAST = "last"  # in place of a score: the last epoch is kept, nothing is selected


def direction(monitor: str) -> str:
    """Returns "min" or "max": which value of a score such as loss/val is best."""
    score = MONITORED.get(monitor.partition("/")[0])
    return "max" if score is None or score.higher_is_better else "min"


def _folder(value: str) -> str:
    # os.path.expanduser leaves an unknown ~ as it is, where Path.expanduser raises RuntimeError
    if not value or "\0" in value or os.path.expanduser(value).startswith("~"):  # noqa: PTH111
        raise ValueError("must be a folder, written in full where no home is known for its ~")
    return value


def _run_dir(value: str) -> str:
    if value.startswith("~"):  # Hydra would make a folder of that name
        raise ValueError("must be a folder, written without ~")
    return _folder(value)


def _object(value: Any) -> Any:
    if not isinstance(value, dict) or "." not in str(value.get("_target_")):
        raise ValueError("must be settings with a _target_, such as torch.optim.Adamax")
    return value


def _monitor(value: str) -> str:
    score, slash, split = value.partition("/")
    if score not in (*SCORES, *BOX_SCORES) or not slash or split not in SPLITS:
        raise ValueError(
            f"must be a score and a split, such as f1_normal/val, with one of the scores "
            f"{', '.join(SCORES)}, with task=detection also {', '.join(BOX_SCORES)}"
        )
    return value


def _different(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("must be different networks, such as [tiny,small]")
    return names


Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Share = Annotated[float, Field(gt=0, lt=1)]
Batches = Annotated[float, Field(gt=0, le=1)] | PositiveInt  # a share of an epoch, or a number
Folder = Annotated[str, AfterValidator(_folder)]
Object = Annotated[dict[str, Any], BeforeValidator(_object)]
Monitor = Annotated[str, AfterValidator(_monitor)]
Choice = Literal["last"] | Monitor
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


class Split(Section):
    """The function that splits patients."""

    target_: str
    partial_: Literal[True]
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
    split: Annotated[Split, BeforeValidator(_object)]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the protocol has."""
        if self.split.val == 0:
            return ("train", "test")
        return tuple(self.split.fractions or SPLITS)


class Progressive(Section):
    """Smaller training images in the first epochs."""

    side: Annotated[int, Field(ge=32, le=4096)]  # pixels
    share: Share  # of the epochs


class Data(Section):
    """Which images there are, and how they are read."""

    root: Folder | None = None
    csv: Folder | None = None
    num_images: Annotated[int, Field(ge=24)] | None = None
    seed: Seed | None = None
    patient_key: PatientKey
    on_unknown_name: Literal["error", "skip"]
    image_size: Annotated[int, Field(ge=32, le=4096)]
    aspect: Literal["stretch", "pad"]
    batch_size: PositiveInt
    num_workers: Annotated[int, Field(ge=0, le=512)]
    progressive: Progressive | None = None
    cache_dir: Folder
    source: Object


class Model(Section):
    """A network or a baseline."""

    target_: str
    name: Name

    @property
    def is_own(self) -> bool:
        """Whether it is of this package; in others a name may mean something else."""
        return self.target_.startswith("pneumo.")


class OwnModel(Model):
    """One of this package."""

    num_classes: Literal[2, 3] | None = None
    f: PositiveInt | None = None
    d: PositiveInt | None = None
    c: PositiveInt | None = None
    batch_norm: bool | None = None
    per_image: bool | None = None
    pretrained: bool | Folder | None = None
    C: Annotated[float, Field(gt=0)] | None = None
    gamma: Literal["scale"] | Annotated[float, Field(gt=0)] | None = None


class Views(Section):
    """What scores are the mean over, see pneumo.models.views."""

    scales: list[float]
    mirror: bool


class Optimizer(Section):
    """Optimizer settings."""

    target_: str
    partial_: Literal[True]
    lr: Annotated[float, Field(gt=0)]


class Schedule(Section):
    """Settings of the learning rate's schedule."""

    target_: str
    partial_: Literal[True]
    interval: Literal["epoch", "step"] = "epoch"
    monitor: Monitor | None = None


class Callback(Section):
    """A Lightning callback."""

    target_: str
    monitor: Monitor | None = None


class Checkpoint(Section):
    """The callback that keeps the weights, or that logs which epoch is the best so far."""

    target_: str
    monitor: Choice


class Callbacks(Section):
    """Callbacks by name."""

    __pydantic_extra__: dict[str, Annotated[Callback, BeforeValidator(_object)]]
    checkpoint: Annotated[Checkpoint, BeforeValidator(_object)]
    lines: Annotated[Checkpoint, BeforeValidator(_object)] | None = None

    @property
    def others(self) -> dict[str, Callback]:
        """The callbacks by name, except these two."""
        return self.__pydantic_extra__


class Trainer(Section):
    """Lightning's Trainer, which checks the arguments that are not named here."""

    target_: Literal["pytorch_lightning.Trainer"]
    accelerator: str
    devices: PositiveInt | Annotated[list[NonNegativeInt], Field(min_length=1)]  # or GPUs by number
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
    seed: Seed
    num_threads: Annotated[int, Field(ge=1, le=MAX_THREADS)] | None
    run_dir: Annotated[str, AfterValidator(_run_dir)]
    tags: list[Name] = []
    recipe: Name | None = None
    init: str | None = None
    ensembles: (
        dict[Name, Annotated[list[Name], Field(min_length=2), AfterValidator(_different)]] | None
    ) = None
    protocol: Protocol
    data: Data
    model: Annotated[Model, BeforeValidator(_object)]
    views: Views
    decision: Literal["argmax", "balanced", "sensitivity"]
    augment: Object
    loss: Object | None = None
    optimizer: Annotated[Optimizer, BeforeValidator(_object)]
    schedule: Annotated[Schedule, BeforeValidator(_object)]
    callbacks: Callbacks
    logger: dict[str, Object] | None = None
    trainer: Trainer

    @property
    def monitors(self) -> dict[str, str]:
        """The key of the setting, by each score that is followed; the first of several."""
        checkpoint, lines = self.callbacks.checkpoint, self.callbacks.lines
        followed = {"callbacks.checkpoint.monitor": checkpoint.monitor}
        followed |= {"callbacks.lines.monitor": lines.monitor} if lines else {}
        followed |= {
            f"callbacks.{n}.monitor": c.monitor or LAST for n, c in self.callbacks.others.items()
        }
        followed["schedule.monitor"] = self.schedule.monitor or LAST
        return {monitor: key for key, monitor in reversed(followed.items()) if monitor != LAST}

    @property
    def scores_each_epoch(self) -> bool:
        """Whether val and test are scored after each epoch."""
        followed = any(not monitor.endswith("/train") for monitor in self.monitors)
        return followed or self.trainer.check_val_every_n_epoch == 1
