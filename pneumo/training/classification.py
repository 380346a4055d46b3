"""Classification: trains on labelled images, scores the probability of PNEUMONIA."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional

from pneumo.choices import BALANCED
from pneumo.data.cache import Cache
from pneumo.data.datamodule import Batch, Loader, XrayDataModule
from pneumo.evaluation.published import TINY
from pneumo.evaluation.scores import scores_at_half
from pneumo.inference import ood
from pneumo.labels import SUBTYPES
from pneumo.models import unet_encoder
from pneumo.models.base import Network
from pneumo.models.base import build as build_any
from pneumo.models.blocks import groups
from pneumo.models.views import ONE_VIEW, Views
from pneumo.runs import run_folder, tables
from pneumo.runs.metrics import how_chosen
from pneumo.training import losses, metadata
from pneumo.training.config import Config
from pneumo.training.construction import build, naming
from pneumo.training.devices import gathered
from pneumo.training.task import Scored, Task, batch_settings

MAIN = "f1_normal"  # the paper's F1: with 73 % PNEUMONIA its figures fit NORMAL only (facts.md)


class Classification(Task):
    """Trains a classifier and scores it on every split after each epoch.

    The network gets mean and deviation of the train images; one that starts from another run's
    weights keeps that run's. With decision=balanced it also gets the labels' shares, see
    Network.log_prior. The loss among the scores is always the plain cross-entropy.

    Args:
        config: of the run.
        network: (B, 1, S, S) grey values to (B, num_classes) logits.
        data: its batches.
    """

    def __init__(self, config: Config, network: Network, data: XrayDataModule):
        super().__init__(config, network, data)
        self.views = Views(**config.views.plain())  # of an image, in evaluation mode
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.layer_decay = 1.0  # see finetune.Finetune
        if not config.init:
            mean, std = data.train_statistics()
            network.mean.fill_(mean)
            network.std.fill_(std)
        target, num_classes = data.target[data.rows["train"]], network.num_classes
        self.loss = make_loss(config, target, num_classes)
        if config.decision == BALANCED:
            prior = losses.log_prior(self.loss, target, num_classes=num_classes)
            network.log_prior.copy_(prior)

    @classmethod
    def build_network(cls, config: Config) -> Network:
        """Returns the classifier of a configuration; its errors are those of models.base.build."""
        with naming("model"):
            size = config.data.image_size
            return build_any(config.model.plain(), image_size=size, make=instantiate)

    @classmethod
    def try_settings(cls, config: Config, network: Network) -> None:
        """Raises ValueError where the loss or smaller images do not go with the network."""
        target = torch.arange(network.num_classes)
        with naming("loss"):
            loss = make_loss(config, target.numpy(), network.num_classes)
            value = loss(torch.zeros(len(target), len(target)), target)
            if not (isinstance(value, Tensor) and value.ndim == 0):
                raise ValueError(
                    "loss must be one number for a batch, such as the mean over its images"
                )
        if small := config.data.progressive:
            try_side(network, small.side)

    @classmethod
    def batches(
        cls, config: Config, network: Network, table: pd.DataFrame, images: Cache
    ) -> XrayDataModule:
        """Returns the batches, with the columns of the table that the network takes."""
        others = batch_settings(config)
        if small := config.data.progressive:
            others["small"] = (small.side, round(small.share * config.trainer.max_epochs))
        num_classes, inputs = network.num_classes, network.inputs
        return XrayDataModule(table, images, num_classes=num_classes, inputs=inputs, **others)

    def forward(self, batch: Batch) -> Tensor:
        """Returns the (B, num_classes) logits of a batch, outside training the mean of Views."""
        # a network on the CPU is faster channels-last; with one input channel only the strides
        # distinguish the layouts
        image = batch.image.float().contiguous(memory_format=torch.channels_last)
        views = ONE_VIEW if self.training else self.views
        return views.logits(self.network, image, **batch.inputs)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Returns the optimizer of all parameters, in groups if layers have rates of their own."""
        optimizer = super().make_optimizer()
        if self.layer_decay == 1:
            return optimizer
        rate, body = optimizer.defaults["lr"], getattr(self.network, "body", self.network)
        shares = groups(self, body, decay=self.layer_decay)  # the last block first: it is logged
        return self.optimizer(
            [{"params": group, "lr": rate * share, "share": share} for share, group in shares]
        )

    def training_step(self, batch: Batch, _batch_idx: int) -> Tensor:
        """Returns the loss of the batch."""
        loss: Tensor = self.loss(self._keep(batch, "train"), batch.target)
        return loss

    def validation_step(self, batch: Batch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collects the logits of one batch for the end of the epoch."""
        self._keep(batch, self.eval_splits[dataloader_idx])

    def _keep(self, batch: Batch, split: str) -> Tensor:
        """Returns the logits of a batch, and collects them for the scores of the epoch."""
        logit: Tensor = self(batch)
        self.seen.setdefault(split, []).append((logit.detach(), batch.target))
        return logit

    def scores(self) -> dict[str, dict[str, Any]]:
        """Returns the scores of each split, see `score`.

        Those of the training steps are without Network.log_prior.
        """
        seen = {split: joined(pairs) for split, pairs in self.seen.items()}
        self.seen.clear()
        parts = gathered(seen)
        return {split: score(*joined([part[split] for part in parts])) for split in sorted(seen)}

    def score_splits(
        self, data: XrayDataModule, splits: Sequence[str], epoch: Mapping[str, Any]
    ) -> Scored:
        """Returns the scores, the rows and the logits of every image of ``splits``."""
        outputs = {split: self._logits(data.loader(split)) for split in splits}
        scores = {
            split: score(logit, torch.from_numpy(data.target[rows]))
            for split, (rows, logit) in outputs.items()
        }
        return Scored(epoch["epoch"], scores, outputs)

    def _logits(self, loader: Loader) -> tuple[np.ndarray, Tensor]:
        """Returns (N,) int64 rows of the table, and (N, num_classes) float32 on the CPU."""
        rows, logit = [], []
        with unet_encoder.without_tf32():  # as in pneumo.predict
            for batch in loader:
                moved = self.transfer_batch_to_device(batch, self.device, 0)
                rows.append(batch.row.cpu())
                logit.append(self(moved).float().cpu())
        return torch.cat(rows).numpy(), torch.cat(logit)

    def tables(self, scored: Scored, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Returns predictions.csv, see tables.predictions; its probabilities are float64.

        p_pneumonia is the sum of all classes but NORMAL.
        """
        outputs = [scored.outputs[split] for split in self.eval_splits]
        rows, logit = np.concatenate([r for r, _ in outputs]), torch.cat([x for _, x in outputs])
        probability = logit.double().softmax(1).numpy()
        names = ["normal", "pneumonia"] if probability.shape[1] == 2 else list(SUBTYPES)
        columns = {f"p_{name}": probability[:, number] for number, name in enumerate(names)}
        columns["p_pneumonia"] = pneumonia_probability(logit).numpy()
        return {run_folder.PREDICTIONS: tables.predictions(table, rows, **columns)}

    def arrays(
        self, images: np.ndarray, table: pd.DataFrame, predictions: pd.DataFrame
    ) -> dict[str, Mapping[str, Any]]:
        """Returns the reference of the run's own images, by which predict flags others."""
        assert isinstance(self.network, Network)
        if self.network.inputs:  # predict refuses such a network
            return {}
        rows = table.index[table["path"].isin(ood.sampled_paths(predictions))]
        fitted = ood.fit(self.network, images[rows.to_numpy()], views=self.views)
        return {} if fitted is None else {ood.FILE: ood.arrays(fitted)}

    @classmethod
    def conclusion(cls, metrics: Mapping[str, Any]) -> list[str]:
        """Returns the scores of the test split and those of the train split."""
        best, by = metrics["best"], metrics["selection"]
        lines = [
            f"Test split, epoch {best['epoch'] + 1} of {len(metrics['history'])}, "
            f"{how_chosen(by)} (95 % CI):",
            *metadata.score_lines(metrics["assessment"]["scores"]),
            "  Train split, without augmentation and dropout:",
        ]
        last = metrics["last"]
        rows = {"the same epoch": best}
        if last["epoch"] != best["epoch"]:  # how far the network overfits
            rows[f"the last epoch, {last['epoch'] + 1}"] = last
        for when, row in rows.items():
            train, of_test = row[metadata.TRAIN_EVAL], row["test"][MAIN]
            f1, auroc, test = map(metadata.decimal, (train[MAIN], train["auroc"], of_test))
            lines.append(f"    {when}: F1 of NORMAL {f1} (test {test}), AUROC {auroc}")
        if by["on"] == "test":
            paper, honest = TINY["f1_normal"], last["test"][MAIN]
            lines.append(
                "  Optimistic: the epoch was chosen on the split it is scored on, as in the\n"
                f"  paper (F1 of NORMAL {paper:.3f}). The last epoch has {honest:.3f};\n"
                "  protocol=holdout avoids this bias."
            )
        return lines


@torch.no_grad()
def try_side(network: Network, side: int) -> None:
    """Raises ValueError where the network does not take images of another side."""
    is_training = network.training
    try:
        network.eval()(torch.zeros(1, 1, side, side))
    except Exception:  # a foreign network may raise anything; timm's raise AssertionError
        raise ValueError(
            f"data.progressive needs a network that takes images of any size, such as compact; "
            f"this one does not take {side} px. Set data.progressive=null"
        ) from None
    network.train(is_training)


def make_loss(config: Config, target: np.ndarray, num_classes: int) -> nn.Module:
    """Returns the loss of a configuration; balanced class weights are those of ``target``.

    Args:
        config: of the run.
        target: (N,) class numbers of the train split.
        num_classes: 2 or 3.
    """
    settings = config.loss.plain() if config.loss else {}
    if settings.get("class_weights") == losses.BALANCED:
        settings["class_weights"] = losses.balance(target, num_classes=num_classes)
    return build("loss", settings, nn.Module)


def score(logit: Tensor, target: Tensor) -> dict[str, Any]:
    """Returns the scores of (N, num_classes) logits and (N,) class numbers, both on the CPU.

    Of three classes, bacteria and virus are added up to PNEUMONIA, except in the loss, the mean
    cross-entropy of all classes.
    """
    label, probability = (target > 0).long().numpy(), pneumonia_probability(logit).numpy()
    return scores_at_half(label, probability) | {
        "loss": float(functional.cross_entropy(logit, target))
    }


def joined(seen: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Returns the float32 logits and the class numbers of all batches, on the CPU."""
    logit, target = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return logit.float().cpu(), target.cpu()


def pneumonia_probability(logit: Tensor) -> Tensor:
    """(N, num_classes) logits to (N,) float64 probabilities of PNEUMONIA, all classes but NORMAL.

    In float64 two logits up to 36 apart have different probabilities; in float32 they are tied from
    17 on.
    """
    return logit.double().softmax(1)[:, 1:].sum(1)
