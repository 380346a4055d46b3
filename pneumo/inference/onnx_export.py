"""A run as an ONNX file: its metadata, and its check against the network."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto
from tqdm import tqdm

from pneumo import labels
from pneumo.choices import ARGMAX, AT_SENSITIVITY, BALANCED, SENSITIVITY
from pneumo.data import fingerprint, image, phantom, reader
from pneumo.data.sets import class_of
from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.inference import onnx_model
from pneumo.inference.inputs import find_noted
from pneumo.models.base import Network
from pneumo.runs.network import check_finite
from pneumo.runs.run import Run

MAX_CHECKED = 32  # of the run's own images
GRAPH_TOLERANCE = 1e-3  # of a logit, the same pixels: 1e-5 was seen, float32 summed in other order
WHOLE_TOLERANCE = 0.02  # of a probability, resized by the file: 0.009 was seen; a resized pixel may
# differ by one grey level of 255, where Pillow and ONNX Runtime round a half differently


@dataclass(frozen=True)
class Difference:
    """The largest difference between ONNX Runtime and the network over some images."""

    images: int
    graph: float  # of a logit, given the same prepared pixels
    whole: float  # of a probability, from the image as it is
    source: str  # of the images
    unread: tuple[str, ...]  # files that could not be read, with the reason


def properties(
    run: Run, network: Network, checkpoint: str, fixed: OperatingPoint
) -> dict[str, str]:
    """Returns the metadata of the file: plain text by name; KeyError: metrics.json lacks a key."""
    metrics, data = run.metrics, run.metrics["data"]
    mean, std = float(network.mean), float(network.std)
    prepared = fingerprint.take(size=run.image_size, aspect=run.aspect, mean=mean, std=std)
    selection, versions = metrics["selection"] or {}, metrics["versions"] or {}
    last = checkpoint == "last"
    return {
        "classes": ",".join(labels.CLASSES[network.num_classes]),
        "input": "image: uint8 (N, 1, H, W), grey, 0 is black, any size; resized inside",
        "output": (
            "logits and probability (softmax, no temperature applied): float32 (N, classes); "
            "decision: int64 (N,), 1 is PNEUMONIA"
        ),
        "image_size": str(run.image_size),
        "aspect": run.aspect,
        "views": json.dumps(asdict(run.views)),  # logits are averaged over them, inside
        "preprocessing": json.dumps(prepared),  # of three fixed images: see data/fingerprint.py
        "model": metrics["model"],
        "checkpoint": checkpoint,
        "epoch": str(metrics["last" if last else "best"]["epoch"] + 1),
        "epoch_chosen_on": "none" if last else str(selection["on"]),
        "protocol": metrics["protocol"],
        "seed": str(metrics["seed"]),
        "data_kind": data["kind"],
        "split_sha256": str(data["split_sha256"]),
        "train_sha256": run.train_sha256,
        "pneumo_version": str(versions["pneumo"]),
        "git_commit": str(metrics.get("git_commit") or "not recorded"),
        "licence_code": "MIT",
        "licence_data": str(data.get("licence") or class_of(data["kind"]).licence),
        "limits": class_of(data["kind"]).limits,
        **_fixed_properties(fixed),
    }


def _fixed_properties(fixed: OperatingPoint) -> dict[str, str]:
    sentences = {
        ARGMAX: "PNEUMONIA at a probability of 0.5 or above",
        BALANCED: "PNEUMONIA at a probability for equal classes of 0.5 or above",
        AT_SENSITIVITY: "the highest probability of PNEUMONIA with a sensitivity of at least "
        f"{SENSITIVITY:g} on the {fixed.images} validation images",
    }
    calibration = {"calibration": f"none: {fixed.why_not}"}
    if fixed.temperature is not None:
        fitted = f"temperature fitted on the {fixed.images} validation images"
        calibration = {"calibration": fitted, "temperature": repr(fixed.temperature)}
    return {
        "decision": fixed.rule,
        "operating_point": f"none: {fixed.why_not}" if fixed.set_aside else sentences[fixed.rule],
        "operating_threshold": repr(fixed.threshold),
        **calibration,
    }


def check_images(check: Sequence[str] | None, run: Run, place: Path) -> tuple[list[str], str]:
    """Returns the images to check a model on, and what they are.

    Named ones, the run's own spread over its test split, or generated ones in ``place``.
    """
    if check is not None:
        if names := find_noted(check):
            return names, "of --check"
        raise ValueError(f"--check must name images; got none in {', '.join(check)}")
    folder, paths = run.images(), run.of_split("test")["path"]
    if folder is not None:
        step = max(1, len(paths) // MAX_CHECKED)
        return [str(folder / path) for path in paths[::step][:MAX_CHECKED]], "its test split"
    root = phantom.generate(place / "set", num_images=phantom.MIN_IMAGES, seed=0, progress=False)
    return reader.find([str(root)])[0], "generated; the run's own are missing"


def compare(
    model: ModelProto, run: Run, network: Network, names: Sequence[str], source: str
) -> Difference:
    """Returns the largest difference; ValueError if one exceeds its tolerance."""
    session = onnx_model.open_session(model)
    largest, images, unread = np.zeros(2), 0, []
    for name in tqdm(names, desc="checking", unit=" images", disable=None):
        try:
            picture = reader.decode(name)[0]
        except ValueError as error:
            unread.append(str(error))
            continue
        prepared = image.resize(picture, size=run.image_size, aspect=run.aspect)
        expected = onnx_model.network_outputs(network, run.views, prepared)
        check_finite(expected, name=run.name)
        graph_off = np.abs(onnx_model.onnx_outputs(session, prepared) - expected)[0].max()
        whole_off = np.abs(onnx_model.onnx_outputs(session, picture) - expected)[1].max()
        largest, images = np.maximum(largest, [graph_off, whole_off]), images + 1
    if not images:
        raise ValueError(f"at least one image must be readable for the check; {unread[0]}")
    graph, whole = map(float, largest)
    if not (graph <= GRAPH_TOLERANCE and whole <= WHOLE_TOLERANCE):
        raise ValueError(
            f"ONNX Runtime must agree with the network to {GRAPH_TOLERANCE:g} of a logit and "
            f"{WHOLE_TOLERANCE:g} of a probability; got {graph:.1e} and {whole:.1e}. Nothing was "
            "written; try another version of onnxruntime"
        )
    return Difference(images, graph, whole, source, tuple(unread))
