"""A finished run becomes one ONNX file, preprocessing inside, and a model card beside it."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("export"))

import numpy as np
from jinja2 import UndefinedError
from tqdm import tqdm

from pneumo import atomic
from pneumo.arguments.export import parse
from pneumo.data import fingerprint, image, phantom, reader, split
from pneumo.data.sets import class_of
from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.inference import ensemble
from pneumo.inference.ensemble import Member
from pneumo.report import checklists, model_card
from pneumo.runs import detection_run, output, pretrained, run_folder
from pneumo.runs.checkpoint import Trained, check_finite, load

if TYPE_CHECKING:  # the extra is asked for when it is needed
    from onnx import ModelProto

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MAX_CHECKED = 32  # of the run's own images, spread over its test split
GRAPH_TOLERANCE = 1e-3  # of a logit, the same pixels: 1e-5 was seen, float32 summed in other order
WHOLE_TOLERANCE = 0.02  # of a probability, resized by the file: 0.009 was seen; a resized pixel may
# differ by one grey level of 255, where Pillow and ONNX Runtime round a half differently

NO_DETECTOR = (
    "export takes a classifier: torch.export, which makes the ONNX file, cannot follow "
    "torchvision's detectors, where the number of boxes decides what is computed, and card and "
    "checklists tell of classes"
)


class Difference(NamedTuple):
    """How far ONNX Runtime's answers are from the network's, the largest over the images."""

    images: int
    graph: float  # of a logit, given the same prepared pixels
    whole: float  # of a probability, from the image as it is
    source: str  # of the images
    unread: tuple[str, ...]  # files that could not be read, with the reason


class Checked(NamedTuple):
    """The images a model is checked on."""

    names: list[str]
    source: str


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(lambda: _command(given), stopped="stopped; nothing was written")


def _command(given: argparse.Namespace) -> int:
    run_dir = pretrained.find(given.run)
    detection_run.refuse(run_dir, NO_DETECTOR)
    if given.to == "run":
        return _pack(given, run_dir)
    if given.to == "checklists":
        return _checklists(given, run_dir)
    model_path, found = export(
        run_dir,
        checkpoint=given.checkpoint,
        out=given.out,
        check=given.check,
        trust=given.trust,
    )
    for reason in found.unread:
        sys.stderr.write(f"not read: {reason}\n")
    images = cli.counted(found.images, "image")
    sys.stdout.write(
        f"Largest difference to the network on {images} ({found.source}):\n"
        f"  of a probability, from the image as it is: {found.whole:.1e} "
        f"(at most {WHOLE_TOLERANCE:g})\n"
        f"  of a logit, from the same prepared pixels: {found.graph:.1e} "
        f"(at most {GRAPH_TOLERANCE:g})\n"
        f"{model_path}\n{card_path(model_path)}\n{checklists_path(model_path)}\n"
    )
    return cli.UNREADABLE if found.unread else 0


def _pack(given: argparse.Namespace, run_dir: Path) -> int:
    if given.out is None or given.check or given.checkpoint != "best":
        raise ValueError(
            "--to run writes the best checkpoint to a folder; it needs --out DIR, and takes "
            "neither --check nor --checkpoint last"
        )
    size = pack(run_dir, given.out, trust=given.trust)
    sys.stdout.write(f"{given.out}: {size / 1e6:.2f} MB, with {pretrained.CARD}\n")
    return 0


def pack(run_dir: Path, out: Path, *, trust: Sequence[str] = ()) -> int:
    """Writes a finished run as a small run folder to hand on, with its card; returns the bytes.

    Args:
        run_dir: a finished run.
        out: a folder that is new, empty, or of an earlier call.
        trust: packages whose networks the run folder may ask for, see pneumo.runs.checkpoint.

    Raises:
        FileNotFoundError, ValueError: see `export` and pneumo.runs.pretrained.pack.
    """
    one = load(run_dir, trust=trust)
    member = ensemble.read(run_dir)
    if ensemble.stored_reference(one, checkpoint="best") is None:
        raise ValueError(
            f"reference.npz of {run_dir} is not of its best weights, without which no image is "
            "told to be out of distribution: python -m pneumo.predict makes it anew"
        )
    overrides = pretrained.overrides_to_tell(run_dir)
    card = _card(one, replace(member, name="this run"), checkpoint="best")
    with _told(run_dir):
        text = model_card.weights_card(one.metrics, overrides=overrides, card=card)
    return pretrained.pack(run_dir, out, card=text)


def card_path(model_path: Path) -> Path:
    """Returns where a model's card lies: beside it, under its name, so that two do not collide."""
    return model_path.with_name(f"{model_path.stem}-card.md")


def checklists_path(model_path: Path) -> Path:
    """Returns where a model's CLAIM and TRIPOD+AI tables lie, beside its card."""
    return model_path.with_name(f"{model_path.stem}-checklists.md")


def _checklists(given: argparse.Namespace, run_dir: Path) -> int:
    if given.check or given.checkpoint != "best":
        raise ValueError(
            "--to checklists is of the run and its best checkpoint; it takes neither --check nor "
            "--checkpoint last"
        )
    member = ensemble.read(run_dir)
    beside = Path() if pretrained.is_shipped(run_dir) else run_dir
    out = given.out if given.out is not None else beside / "export" / "checklists.md"
    if out.suffix != ".md":
        raise ValueError(f"--out must be a file that ends in .md; got {out}")
    _check_place([out], run_dir)
    text = _checklists_text(member, checkpoint="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write_text(out, text)
    sys.stdout.write(f"{out}\n")
    return 0


def _checklists_text(member: Member, *, checkpoint: str) -> str:
    model = run_folder.read_config(member.run_dir).get("model")
    with _told(member.run_dir):
        return checklists.write(
            member.metrics,
            found=ensemble.assessment(member) if checkpoint == "best" else None,
            maps=run_folder.read_maps(member.run_dir, checkpoint=checkpoint),
            model=model if isinstance(model, dict) else None,
        )


def export(
    run_dir: Path,
    *,
    checkpoint: str = "best",
    out: Path | None = None,
    check: Sequence[str] | None = None,
    trust: Sequence[str] = (),
) -> tuple[Path, Difference]:
    """Writes the ONNX file and the card of a run; returns the file's path and its check.

    Args:
        run_dir: a finished run.
        checkpoint: best or last.
        out: the file (ends in .onnx) or its folder; by default export in ``run_dir``,
            of a network of the package in the working directory.
        check: files or folders of images to check on; by default the run's own test images where
            they are still there, otherwise generated ones.
        trust: packages whose networks the run folder may ask for, see pneumo.runs.checkpoint.

    Raises:
        FileNotFoundError: the run, a file of it or an image is missing.
        ValueError: the run is not finished or broken, an extra is not installed, ``out`` holds
            something else, no image could be read, or the answers differ by too much.
    """
    _check_packages()
    one = load(run_dir, checkpoint=checkpoint, trust=trust)
    member = replace(ensemble.read(run_dir), name="this run")  # no file names in what is handed on
    beside = Path() if pretrained.is_shipped(run_dir) else run_dir
    model_path = _place(out if out is not None else beside / "export", run_dir)
    best = checkpoint == "best"
    fixed: OperatingPoint | str = (
        ensemble.mean_operating_point([member]) if best else model_card.NOT_BEST
    )
    with _told(run_dir):
        properties = _properties(one, checkpoint, fixed, _train_sha256(member))
    lists = checklists_path(model_path)
    text = _card(one, member, checkpoint=checkpoint, checklists=lists.name)
    model = _build(one, properties)
    with tempfile.TemporaryDirectory() as place:
        found = _compare(model, one, _images(check, member, Path(place)))
    about = {card_path(model_path): text, lists: _checklists_text(member, checkpoint=checkpoint)}
    _write(model_path, model.SerializeToString(), about)
    return model_path, found


def _train_sha256(member: Member) -> str:
    return split.digest(member.split[member.split["split"] == "train"])


@contextmanager
def _told(run_dir: Path) -> Iterator[None]:
    """Turns what metrics.json lacks into one line."""
    try:
        yield
    except (KeyError, TypeError, UndefinedError) as error:
        raise ValueError(
            f"metrics.json must tell what the card says; that of {run_dir} lacks {error}"
        ) from None


def _card(one: Trained, member: Member, *, checkpoint: str, checklists: str | None = None) -> str:
    """The model card; ValueError where metrics.json does not tell what it says."""
    with _told(one.run_dir):
        return model_card.write(
            one.metrics,
            classes=one.classes,
            image_size=one.image_size,
            aspect=one.aspect,
            checkpoint=checkpoint,
            found=ensemble.assessment(member) if checkpoint == "best" else None,
            maps=run_folder.read_maps(one.run_dir, checkpoint=checkpoint),
            train_sha256=_train_sha256(member),
            checklists=checklists,
        )


def _check_packages() -> None:
    """Raises ValueError where a package of the extra is missing, before anything takes time."""
    for name in PACKAGES:
        try:
            __import__(name)
        except ImportError:
            raise ValueError(
                f"python -m pneumo.export needs {', '.join(PACKAGES)}; {name} is not installed. "
                "Install them with python -m pip install 'pneumo[export]'"
            ) from None


def _build(one: Trained, properties: dict[str, str]) -> "ModelProto":
    from pneumo.inference import onnx_model

    return onnx_model.build(
        one.network,
        views=one.views,
        image_size=one.image_size,
        aspect=one.aspect,
        properties=properties,
    )


def _properties(
    one: Trained, checkpoint: str, fixed: OperatingPoint | str, train_sha256: str
) -> dict[str, str]:
    """The metadata of the file: plain text by name."""
    metrics, data = one.metrics, one.metrics["data"]
    mean, std = float(one.network.mean), float(one.network.std)
    prepared = fingerprint.take(size=one.image_size, aspect=one.aspect, mean=mean, std=std)
    properties = {
        "classes": ",".join(one.classes),
        "input": "image: uint8 (N, 1, H, W), grey, 0 is black, any size; resized inside",
        "output": "logits and probability (softmax, no temperature applied): float32 (N, classes)",
        "image_size": str(one.image_size),
        "aspect": one.aspect,
        "views": json.dumps(asdict(one.views)),  # logits are the mean over them, inside
        "preprocessing": json.dumps(prepared),  # of three fixed images: see data/fingerprint.py
        "model": str(metrics["model"]),
        "checkpoint": checkpoint,
        "epoch": str(metrics[checkpoint]["epoch"] + 1),
        "epoch_chosen_on": "none" if checkpoint == "last" else str(metrics["selection"]["on"]),
        "protocol": str(metrics["protocol"]),
        "seed": str(metrics["seed"]),
        "data_kind": str(data["kind"]),
        "split_sha256": str(data["split_sha256"]),
        "train_sha256": train_sha256,
        "pneumo_version": str(metrics["versions"]["pneumo"]),
        "git_commit": str(metrics.get("git_commit") or "not recorded"),
        "licence_code": "MIT",
        "licence_data": str(data.get("licence") or class_of(data["kind"]).licence),
        "limits": class_of(data["kind"]).limits,
    }
    if isinstance(fixed, str):
        return properties | {
            "operating_point": f"none: {fixed}",
            "calibration": f"none: {fixed}",
        }
    return properties | {
        "operating_point": (
            "the highest probability of PNEUMONIA with a sensitivity of at least "
            f"{fixed.sensitivity:g} on the {fixed.images} validation images"
        ),
        "operating_threshold": repr(fixed.threshold),
        "calibration": f"temperature fitted on the {fixed.images} validation images",
        "temperature": repr(fixed.temperature),
    }


def _images(check: Sequence[str] | None, member: Member, place: Path) -> Checked:
    """The images to check on; generated ones go to the folder ``place``."""
    if check is not None:
        names, others = reader.find(check)
        if not names:
            raise ValueError(f"--check must name images; found none in {', '.join(check)}")
        if others:
            left = cli.counted(others, "file")
            sys.stderr.write(
                f"note: left out {left} in these folders: no image, or a linked folder\n"
            )
        return Checked(names, "of --check")
    folder, paths = ensemble.own_images(member), member.of_split("test")["path"]
    if folder is not None:
        step = max(1, len(paths) // MAX_CHECKED)
        return Checked([str(folder / p) for p in paths[::step][:MAX_CHECKED]], "its test split")
    root = phantom.generate(
        place / "set", num_images=phantom.MIN_IMAGES, seed=0, num_workers=1, progress=False
    )
    return Checked(reader.find([str(root)])[0], "generated; the run's own are not there")


def _compare(model: "ModelProto", one: Trained, chosen: Checked) -> Difference:
    """Returns the largest differences; ValueError where one is over its tolerance."""
    from pneumo.inference import onnx_model

    session = onnx_model.open_session(model)
    largest, images, unread = np.zeros(2), 0, []
    for name in tqdm(chosen.names, desc="checking", unit=" images", disable=None):
        try:
            picture = reader.decode(name)[0]
        except ValueError as error:
            unread.append(str(error))
            continue
        prepared = image.resize(picture, size=one.image_size, aspect=one.aspect)
        wanted = onnx_model.network_answers(one.network, one.views, prepared)
        check_finite(wanted, one.run_dir)
        graph_off = np.abs(onnx_model.answers(session, prepared) - wanted)[0].max()
        whole_off = np.abs(onnx_model.answers(session, picture) - wanted)[1].max()
        largest, images = np.maximum(largest, [graph_off, whole_off]), images + 1
    if not images:
        raise ValueError(f"at least one image must be readable for the check; {unread[0]}")
    graph_most, whole_most = map(float, largest)
    found = Difference(images, graph_most, whole_most, chosen.source, tuple(unread))
    if not (found.graph <= GRAPH_TOLERANCE and found.whole <= WHOLE_TOLERANCE):
        raise ValueError(
            f"ONNX Runtime must agree with the network to {GRAPH_TOLERANCE:g} of a logit and "
            f"{WHOLE_TOLERANCE:g} of a probability; they differ by {found.graph:.1e} and "
            f"{found.whole:.1e}. Nothing was written; try another version of onnxruntime"
        )
    return found


def _place(out: Path, run_dir: Path) -> Path:
    """The path of the ONNX file; ValueError where it or the card would replace something else."""
    if out.suffix != ".onnx" and out.is_file():
        raise ValueError(f"--out must be a folder or a file that ends in .onnx; got {out}")
    model_path = out if out.suffix == ".onnx" else out / FILE
    _check_place((model_path, card_path(model_path), checklists_path(model_path)), run_dir)
    return model_path


def _check_place(paths: Sequence[Path], run_dir: Path) -> None:
    """Raises ValueError where a file would replace something else, or cannot be written."""
    for path in paths:
        if path.exists() and not _is_own(path):
            raise ValueError(
                f"--out must not replace what no export wrote; {path} is such. Move it, or name "
                "another place"
            )
    if place := output.unwritable(paths[0].parent):
        raise ValueError(f"--out must lie in a folder that can be written; {place} cannot")
    if paths[0].parent.is_dir():
        output.check_out(paths[0], run_dirs=[run_dir])


def _is_own(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".md":
        with path.open("rb") as file:
            return file.readline().strip() == checklists.MARK.encode()
    import onnx

    try:
        return bool(onnx.load(path).producer_name == "pneumo")
    except Exception:  # whatever protobuf says of a file that is no ONNX model
        return False


def _write(model_path: Path, model: bytes, about: dict[Path, str]) -> None:
    """Writes the model and the texts about it; where one cannot be written, none is replaced."""
    model_path.parent.mkdir(parents=True, exist_ok=True)
    files = {model_path: model} | {path: text.encode() for path, text in about.items()}
    with ExitStack() as stack:
        for path, data in files.items():
            stack.enter_context(atomic.replacing(path)).write_bytes(data)
