import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric.utilities.data import _set_sampler_epoch

import pneumo.data.datamodule
from pneumo.data.augment import Augment, Warp
from pneumo.data.cache import Cache
from pneumo.data.datamodule import XrayDataModule, batch_sizes


@pytest.fixture
def table() -> pd.DataFrame:
    """20 rows of which the second is left out, so places in the table and the cache differ."""
    labels = ["NORMAL", "PNEUMONIA"] * 10
    parts = ["train"] * 12 + ["val"] * 3 + ["test"] * 5
    table = pd.DataFrame({"label": labels, "split": parts, "subtype": ["normal", "virus"] * 10})
    return table.drop(index=1)


@pytest.fixture
def images() -> Cache:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32), dtype=np.uint8)
    values = pixels.reshape(20, -1).astype(float)
    return Cache(pixels, [""] * 20, values.mean(1), (values**2).mean(1))


def module(table: pd.DataFrame, images: Cache, **options: object) -> XrayDataModule:
    defaults: dict[str, object] = {"batch_size": 4, "augment": Augment(), "seed": 0}
    return XrayDataModule(table, images, **{**defaults, **options})  # type: ignore[arg-type]


def test_parts_are_scored_whole_and_as_they_are(table: pd.DataFrame, images: Cache) -> None:
    data = module(table, images)
    assert data.eval_splits == ["val", "test"]
    for part, loader in zip(data.eval_splits, data.val_dataloader(), strict=True):
        rows = torch.cat([batch.row for batch in loader])
        assert sorted(rows.tolist()) == table.index[table["split"] == part].tolist()
        for batch in loader:
            assert (batch.image[:, 0].numpy() == images.images[batch.row]).all()
            assert (batch.target.numpy() == batch.row.numpy() % 2).all()
            assert batch.image.dtype == torch.uint8


def epoch(data: XrayDataModule, number: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    _set_sampler_epoch(loader, number)  # as Lightning does
    return [torch.cat(column) for column in list(zip(*loader, strict=True))[:3]]


def test_epochs_differ_and_repeat_with_the_seed(table: pd.DataFrame, images: Cache) -> None:
    data = module(table, images)
    image, _, row = epoch(data, 0)
    assert sorted(row.tolist()) == [0, *range(2, 12)]
    assert row.tolist() != epoch(data, 1)[2].tolist()
    assert row.tolist() != epoch(module(table, images, seed=1), 0)[2].tolist()
    again = epoch(module(table, images), 0)
    assert torch.equal(again[0], image)
    assert torch.equal(again[2], row)
    looks = set()  # of one image
    for number in range(6):
        image, _, row = epoch(data, number)
        looks.add(image[row == 5].numpy().tobytes())
    assert len(looks) == 6


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than there are cores
def test_workers_change_nothing(table: pd.DataFrame, images: Cache) -> None:
    assert cv2.getNumThreads() == 1  # a fork beside more of them can block forever
    alone, shared = (epoch(module(table, images, num_workers=n), 2) for n in (0, 2))
    assert all(map(torch.equal, alone, shared))


def test_statistics_are_of_the_train_part_only(table: pd.DataFrame, images: Cache) -> None:
    mean, std = module(table, images).train_statistics()
    train = images.images[table.index[table["split"] == "train"]]
    assert mean == pytest.approx(train.mean())
    assert std == pytest.approx(train.std())


def test_any_beginning_of_a_mixed_order_holds_every_class() -> None:
    target = np.repeat([0, 1], [30, 70])
    rows = pneumo.data.datamodule.mixed_order(np.arange(100), target)
    assert sorted(rows) == list(range(100))
    for number in (4, 10, 50):
        assert target[rows[:number]].mean() == pytest.approx(0.7, abs=0.5 / number + 0.06)


@pytest.mark.parametrize("train", [True, False])
def test_a_single_last_image_joins_the_batch_before_in_training(train: bool) -> None:
    for size, number in itertools.product((1, 2, 3, 16), range(1, 70)):
        usual = [len(part) for part in torch.split(torch.arange(number), size)]
        joins = train and number > size > 1 and number % size == 1
        sizes = batch_sizes(number, batch_size=size, train=train)
        assert sizes == ([*usual[:-2], size + 1] if joins else usual)


@pytest.mark.parametrize("augment", [Augment(), Warp()])
def test_training_images_are_smaller_in_the_first_epochs_and_the_same_ones(
    table: pd.DataFrame, images: Cache, augment: Augment | Warp
) -> None:
    small = module(table, images, augment=augment, small=(16, 2))
    whole = module(table, images, augment=augment)
    sides = [epoch(small, number)[0].shape[-1] for number in range(3)]
    assert sides == [16, 16, 32]
    assert torch.equal(epoch(small, 1)[2], epoch(whole, 1)[2])
    assert torch.equal(epoch(small, 2)[0], epoch(whole, 2)[0])
    mean = epoch(whole, 1)[0].double().mean((1, 2, 3))
    assert torch.allclose(epoch(small, 1)[0].double().mean((1, 2, 3)), mean, atol=8)
