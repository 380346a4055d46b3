"""The LightningDataModule: index, cache and split become batches of images."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from pneumo.data.augment import Augmentation
from pneumo.data.cache import Cache, statistics
from pneumo.data.kermany import targets

cv2.setNumThreads(0)  # a loading process is a fork, which would wait forever for OpenCV's threads

Loader = DataLoader["Batch"]


class Batch(NamedTuple):
    """The input of a step."""

    image: Tensor  # (B, 1, S, S) uint8 grey values
    target: Tensor  # (B,) int64 class numbers
    row: Tensor  # (B,) int64 rows of the table
    inputs: dict[str, Tensor]  # (B,) float32 columns of the table, see Network.inputs


class Images(Dataset[Batch]):
    """Rows of the cache, augmented or not; an item is (epoch, row), a fetch is a batch.

    Images are (N, S, S) uint8, targets (N,), each of ``inputs`` (N,) float32; for the others see
    XrayDataModule.
    """

    def __init__(
        self,
        images: np.ndarray,
        target: np.ndarray,
        *,
        inputs: Mapping[str, np.ndarray],
        augment: Augmentation | None,
        seed: int,
        small: tuple[int, int] | None = None,
    ):
        self.images, self.target, self.inputs, self.seed = images, target, inputs, seed
        self.augment, self.small = augment, small

    def __getitems__(self, items: Sequence[tuple[int, int]]) -> Batch:
        """Returns the batch of ``items``; the DataLoader fetches whole batches by this name."""
        rows = [row for _, row in items]
        image = self.images[rows]
        if augment := self.augment:
            side, epochs = self.small or (None, 0)
            image = np.stack(
                [
                    augment(
                        np.asarray(self.images[row]),
                        seed=draw_seed(self.seed, epoch, row),
                        side=side if epoch < epochs else None,
                    )
                    for epoch, row in items
                ]
            )
        return Batch(
            torch.from_numpy(image)[:, None],
            torch.from_numpy(self.target[rows]),
            torch.tensor(rows),
            {name: torch.from_numpy(values[rows]) for name, values in self.inputs.items()},
        )


class Batches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, row) of these sizes: ``rows`` once an epoch, in order or shuffled.

    The order depends on seed and epoch only. So a resumed run reads the images in the order, and
    with the augmentation, of an uninterrupted one, for any number of loading processes.

    Each of N devices has every N-th item of a batch, ``share``. Its shares differ by at most one
    image; in the gradient all devices have the same weight.
    """

    def __init__(
        self,
        rows: np.ndarray,
        sizes: Sequence[int],
        *,
        seed: int,
        shuffle: bool,
        epoch: int,
        share: slice = slice(None),
    ):
        self.rows, self.sizes, self.share = rows, sizes, share
        self.seed, self.shuffle, self.epoch = seed, shuffle, epoch
        self.sampler = self  # whose set_epoch Lightning calls

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rows = self.rows
        if self.shuffle:
            generator = np.random.Generator(np.random.PCG64([self.seed, self.epoch]))
            rows = generator.permutation(rows)
        items = iter([(self.epoch, int(row)) for row in rows])
        for size in self.sizes:
            yield list(islice(items, size))[self.share]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.epoch = epoch


def batch_sizes(
    num_images: int, *, batch_size: int, train: bool, num_devices: int = 1
) -> list[int]:
    """Returns the number of images in each batch of an epoch: ``batch_size``, and the rest.

    A rest that is too small joins the batch before. Each device needs an image, in training two:
    batch normalisation has no variance of one value, to which an image of 32 pixels shrinks in the
    last layer. Raises ValueError if there are too few images for several devices.
    """
    least = num_devices * (2 if train else 1)
    if num_images < least and num_devices > 1:
        raise ValueError(
            f"a split must have {least} images for {num_devices} devices; got {num_images}. Set "
            "fewer trainer.devices"
        )
    sizes = [batch_size] * (num_images // batch_size)
    left = num_images % batch_size
    if 0 < left < least and sizes:
        return [*sizes[:-1], batch_size + left]
    return [*sizes, left] if left else sizes


class XrayDataModule(pl.LightningDataModule):
    """Batches of a split table.

    Args:
        table: columns split, label and subtype; its index gives each row's place in the cache.
        cache: the images of the whole data set.
        batch_size: images in a training batch, on all devices.
        augment: augmentation of training images; None for none.
        seed: of the order and the augmentation.
        num_classes: 2 or 3, see pneumo.data.kermany.targets.
        inputs: columns of the table that batches have besides the image, see Network.inputs.
        num_workers: processes that load and augment; 0: the training process does.
        small: the side of training images in the first epochs, and the number of these epochs.
        overfit_batches: trains on so many batches only, the same ones in each epoch; None for all.
        num_devices: which share each batch of the loaders that Lightning asks for.

    Raises:
        ValueError: the table lacks a column of ``inputs``.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        cache: Cache,
        *,
        batch_size: int,
        augment: Augmentation | None,
        seed: int,
        num_classes: int = 2,
        inputs: Sequence[str] = (),
        num_workers: int = 0,
        small: tuple[int, int] | None = None,
        overfit_batches: int | None = None,
        num_devices: int = 1,
    ):
        super().__init__()
        self.cache, self.augment, self.seed, self.small = cache, augment, seed, small
        self.batch_size, self.num_workers, self.num_classes = batch_size, num_workers, num_classes
        self.num_devices = num_devices
        self.rows = {str(split): rows.index.to_numpy() for split, rows in table.groupby("split")}
        self.target = np.zeros(len(cache.images), np.int64)
        self.target[table.index] = targets(table, num_classes=num_classes)
        self.inputs = {name: _column(table, name, num_rows=len(self.target)) for name in inputs}
        if overfit_batches:
            train = mixed_order(self.rows["train"], self.target[self.rows["train"]])
            self.rows["train"] = train[: overfit_batches * batch_size]

    @property
    def eval_splits(self) -> list[str]:
        """The splits that are scored after each epoch, in the order of val_dataloader."""
        return [split for split in ("val", "test") if split in self.rows]

    @property
    def num_train_batches(self) -> int:
        """The number of batches in an epoch of the train split."""
        sizes = {"batch_size": self.batch_size, "num_devices": self.num_devices}
        return len(batch_sizes(len(self.rows["train"]), train=True, **sizes))

    def train_statistics(self) -> tuple[float, float]:
        """Returns mean and standard deviation of the train split's pixels, 0 to 255."""
        return statistics(self.cache, self.rows["train"])

    def train_dataloader(self) -> Loader:
        """Returns augmented batches of the train split in a new order each epoch."""
        # Lightning sets the sampler's epoch too late for the first one of a resumed run, whose
        # current_epoch is still that of the checkpoint
        epoch = 0
        if self.trainer:
            epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return self.loader("train", augment=self.augment, shuffle=True, epoch=epoch, shared=True)

    def val_dataloader(self) -> list[Loader]:
        """Returns a loader for each of eval_splits: every image once, in the table's order.

        If the trainer is limited to a few batches, in an order whose beginning has every class.
        """
        limit = self.trainer.limit_val_batches if self.trainer else None
        few = limit is not None and not (isinstance(limit, float) and limit == 1.0)
        return [self.loader(split, mixed=few, shared=True) for split in self.eval_splits]

    def loader(
        self,
        split: str,
        *,
        augment: Augmentation | None = None,
        shuffle: bool = False,
        mixed: bool = False,
        epoch: int = 0,
        shared: bool = False,
    ) -> Loader:
        """Returns batches of one split.

        Args:
            split: train, val or test.
            augment: augmentation of each image; None for none.
            shuffle: for training: in the order of ``epoch``.
            mixed: in an order whose beginning has every class.
            epoch: of the order and the augmentation.
            shared: whether each of several devices gets its share of each batch.
        """
        rows = self.rows[split]
        if mixed:
            rows = mixed_order(rows, self.target[rows])
        number = self.num_devices if shared else 1
        rank = self.trainer.global_rank if self.trainer and shared else 0
        batch_size, share = self.batch_size, slice(rank, None, number)
        sizes = batch_sizes(len(rows), batch_size=batch_size, train=shuffle, num_devices=number)
        batches = Batches(rows, sizes, seed=self.seed, shuffle=shuffle, epoch=epoch, share=share)
        return DataLoader(
            self.dataset(augment),
            batch_sampler=batches,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=_shared,  # type: ignore[arg-type]
            generator=torch.Generator(),  # so that starting draws nothing from that of dropout
            pin_memory=bool(self.trainer and self.trainer.strategy.root_device.type == "cuda"),
        )

    def dataset(self, augment: Augmentation | None) -> Dataset[Any]:
        """Returns the images that the loader fetches batches from."""
        options: dict[str, Any] = {"inputs": self.inputs, "seed": self.seed, "small": self.small}
        return Images(self.cache.images, self.target, augment=augment, **options)


def _column(table: pd.DataFrame, name: str, *, num_rows: int) -> np.ndarray:
    """Returns (num_rows,) float32 values of a column by row of the table; ValueError if missing."""
    if name not in table:
        raise ValueError(
            f"the network needs the column {name} of the data set's table; it has "
            f"{', '.join(map(str, table))}"
        )
    values = np.zeros(num_rows, np.float32)
    values[table.index] = table[name]
    return values


def mixed_order(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns ``rows`` ordered so that any first few hold the classes in their own proportions."""
    place = np.empty(len(rows))
    for number in np.unique(target):
        of_class = np.flatnonzero(target == number)
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return rows[np.argsort(place, kind="stable")]


def draw_seed(seed: int, epoch: int, row: int) -> int:
    """Returns the seed of one image's augmentation in one epoch: 32 bits of a hash of the three."""
    return int(np.random.SeedSequence([seed, epoch, row]).generate_state(1)[0])


def _shared(batch: Batch) -> Batch:
    """Returns the batch; in a loading process, in memory that the training process can read.

    If there is no room for it (/dev/shm), the error ends the run. In the queue between the two
    processes it would be printed, the batch dropped, and the training would wait forever.
    """
    if get_worker_info() is not None:
        for values in batch:
            for tensor in values.values() if isinstance(values, dict) else (values,):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    return batch
