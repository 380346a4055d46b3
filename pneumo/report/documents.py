"""The texts about a run that are handed on with it: model card and reporting checklists."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jinja2 import UndefinedError

from pneumo import labels
from pneumo.report import checklists as tables
from pneumo.report import model_card, pretrained_card
from pneumo.runs import pretrained, run_folder
from pneumo.runs.run import Run


@contextmanager
def complete(run: Run) -> Iterator[None]:
    """Turns a key that metrics.json lacks into one line."""
    try:
        yield
    except (KeyError, TypeError, UndefinedError) as error:
        raise ValueError(
            f"metrics.json must have the keys that the card shows; that of {run.name} lacks {error}"
        ) from None


def card(
    run: Run,
    classes: tuple[str, ...],
    *,
    checkpoint: str = "best",
    checklists: str | None = None,
) -> str:
    """Returns the model card of a run; ValueError if metrics.json lacks a key.

    Args:
        run: a finished run.
        classes: of its logits.
        checkpoint: best or last.
        checklists: the name of the file with the checklists, if there is one.
    """
    with complete(run):
        return model_card.write(
            run.metrics,
            classes=classes,
            image_size=run.image_size,
            aspect=run.aspect,
            checkpoint=checkpoint,
            found=run.assessment if checkpoint == "best" else None,
            maps=run_folder.read_maps(run.run_dir, checkpoint=checkpoint),
            train_sha256=run.train_sha256,
            checklists=checklists,
        )


def checklists(run: Run, *, checkpoint: str) -> str:
    """Returns the CLAIM and TRIPOD+AI tables of a run; ValueError if metrics.json lacks a key."""
    model = run.config.get("model")
    with complete(run):
        return tables.write(
            run.metrics,
            found=run.assessment if checkpoint == "best" else None,
            maps=run_folder.read_maps(run.run_dir, checkpoint=checkpoint),
            model=model if isinstance(model, dict) else None,
        )


def pack(run: Run, out: Path, *, trust: Sequence[str] = ()) -> int:
    """Writes a finished run as a small run folder to hand on, with its card; returns the bytes.

    Args:
        run: a finished run.
        out: a folder that is new, empty, or of an earlier call.
        trust: packages whose networks the run may name.

    Raises:
        FileNotFoundError, ValueError: the run is broken or lacks its reference, or ``out`` holds
            something else.
    """
    from pneumo.inference import reference  # late: torch, which no report needs

    network = run.network(trust=trust)
    if reference.stored(run, network, checkpoint="best") is None:
        raise ValueError(
            f"reference.npz of {run.name} is not of its best weights; without it, no image is "
            "flagged as out of distribution. python -m pneumo.predict computes it again"
        )
    text = card(run, labels.CLASSES[network.num_classes])
    overrides = pretrained.public_overrides(run.run_dir)
    with complete(run):
        text = pretrained_card.write(run.metrics, overrides=overrides, card=text)
    return pretrained.pack(run.run_dir, out, card=text)
