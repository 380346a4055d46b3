"""A run as an ONNX file with its preprocessing and metadata, and its check against the network."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, compose, parser
from torch import Tensor, nn
from tqdm import tqdm

from pneumo import __version__, labels
from pneumo.choices import ARGMAX, AT_SENSITIVITY, BALANCED, SENSITIVITY
from pneumo.data import fingerprint, image, phantom, reader
from pneumo.data.image import ASPECTS
from pneumo.data.sets import class_of
from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.inference.inputs import find_noted
from pneumo.models.base import Network
from pneumo.models.views import Views
from pneumo.runs.network import check_finite
from pneumo.runs.run import Run

MAX_CHECKED = 32  # of the run's own images
GRAPH_TOLERANCE = 1e-3  # of a logit, the same pixels: 1e-5 was seen, float32 summed in other order
WHOLE_TOLERANCE = 0.02  # of a probability, resized by the file: 0.009 was seen; a resized pixel may
# differ by one grey level of 255, where Pillow and ONNX Runtime round a half differently
OPSET = 20  # Resize with antialias came with 18; onnxruntime 1.17 and later run 20
IR_VERSION = 10
PRODUCER = "pneumo"

# Resize of a uint8 image is what image.resize does, a triangle filter without aliasing. Without
# exclude_outside the border pixels count twice there, which Pillow does not.
RESIZE = 'antialias=1, exclude_outside=1, axes=[2, 3], mode="linear"'
STRETCH = """
<ir_version: {ir}, opset_import: ["": {opset}]>
prepare (uint8[N, 1, H, W] image) => (float[N, 1, {side}, {side}] prepared)
<int64[2] sides = {{{side}, {side}}}> {{
    resized = Resize <{resize}> (image, , , sides)
    prepared = Cast <to=1> (resized)
}}
"""
# Pillow's ImageOps.pad: the longer side fills, the other is rounded half to even; so is the margin
PAD = """
<ir_version: {ir}, opset_import: ["": {opset}]>
prepare (uint8[N, 1, H, W] image) => (float[N, 1, {side}, {side}] prepared)
<int64[2] sides = {{{side}, {side}}}, double side = {{{side}.0}}, double two = {{2.0}},
 double one = {{1.0}}, int64[2] axes = {{2, 3}}, uint8 black = {{0}}> {{
    shape = Shape <start=2, end=4> (image)
    lengths = Cast <to=11> (shape)
    longest = ReduceMax <keepdims=0> (lengths)
    shares = Div (lengths, longest)
    exact = Mul (shares, side)
    rounded = Round (exact)
    visible = Max (rounded, one)
    kept = Cast <to=7> (visible)
    resized = Resize <{resize}> (image, , , kept)
    left = Sub (sides, kept)
    left_double = Cast <to=11> (left)
    half = Div (left_double, two)
    half_rounded = Round (half)
    before = Cast <to=7> (half_rounded)
    after = Sub (left, before)
    margins = Concat <axis=0> (before, after)
    padded = Pad (resized, margins, black, axes)
    prepared = Cast <to=1> (padded)
}}
"""
PREPARE = dict(zip(ASPECTS, (STRETCH, PAD), strict=True))


class WithDecision(nn.Module):
    """A network with its logits, averaged over its views, their softmax, and the decision."""

    def __init__(self, network: Network, views: Views, threshold: float) -> None:
        super().__init__()
        self.views, self.threshold = views, threshold
        self.network = deepcopy(network)

    def forward(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (N, C) logits, (N, C) probabilities and (N,) int64 decisions.

        ``prepared``: (N, 1, S, S) grey values. As in pneumo.predict, a decision is by probabilities
        in float64: 1, PNEUMONIA, if that of all classes but NORMAL is at least the threshold.
        """
        logits = self.views.logits(self.network, prepared)
        pneumonia = logits.double().softmax(1)[:, 1:].sum(1)
        return logits, logits.softmax(1), (pneumonia >= self.threshold).long()


def build(
    network: Network,
    *,
    views: Views,
    threshold: float,
    image_size: int,
    aspect: str,
    properties: Mapping[str, str],
) -> ModelProto:
    """Returns the ONNX model of a network: preprocessing, views, softmax and decision inside.

    Its input ``image`` is (N, 1, H, W) uint8 grey values of any size; its outputs are ``logits``
    and ``probability``, (N, C) float32, and ``decision``, (N,) int64, see WithDecision.
    ``properties`` become its metadata.
    """
    text = PREPARE[aspect].format(ir=IR_VERSION, opset=OPSET, side=image_size, resize=RESIZE)
    model = compose.merge_models(
        parser.parse_model(text),
        _classify(WithDecision(network, views, threshold), image_size),
        io_map=[("prepared", "prepared")],
        name="pneumo",
        producer_name=PRODUCER,
        producer_version=__version__,
    )
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model, full_check=True)
    return model


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """Returns ONNX Runtime's session of a model, on the CPU with as many threads as torch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def onnx_outputs(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    """Returns (2, C) float32, logits and probabilities by the file for one (H, W) uint8 image."""
    logits, probability = session.run(["logits", "probability"], {"image": image[None, None]})
    return np.concatenate([logits, probability])


@torch.inference_mode()
def network_outputs(network: Network, views: Views, prepared: np.ndarray) -> np.ndarray:
    """Returns (2, C) float32, logits and probabilities by the network for an (S, S) image."""
    logits = views.logits(network, torch.from_numpy(prepared.astype(np.float32))[None, None])
    return torch.cat([logits, logits.softmax(1)]).numpy()


def _classify(network: WithDecision, image_size: int) -> ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecations
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 1, image_size, image_size),),
            dynamo=True,
            verbose=False,
            input_names=["prepared"],
            output_names=["logits", "probability", "decision"],
            dynamic_shapes={"prepared": {0: torch.export.Dim("N")}},
            opset_version=OPSET,
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info)
    for part in (*parts, *graph.initializer):  # stack traces with file names
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.ir_version = IR_VERSION
    return model


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
    """Returns the images to check a model on, and their description.

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
    session = open_session(model)
    largest, images, unread = np.zeros(2), 0, []
    for name in tqdm(names, desc="checking", unit=" images", disable=None):
        try:
            picture = reader.decode(name)[0]
        except ValueError as error:
            unread.append(str(error))
            continue
        prepared = image.resize(picture, size=run.image_size, aspect=run.aspect)
        expected = network_outputs(network, run.views, prepared)
        check_finite(expected, name=run.name)
        graph_off = np.abs(onnx_outputs(session, prepared) - expected)[0].max()
        whole_off = np.abs(onnx_outputs(session, picture) - expected)[1].max()
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
