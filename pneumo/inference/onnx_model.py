"""A trained network becomes an ONNX model that holds its own preprocessing."""

import logging
import warnings
from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, compose, parser
from torch import Tensor, nn

from pneumo import __version__
from pneumo.data.image import ASPECTS
from pneumo.models.base import Network
from pneumo.models.views import Views

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
 int64[2] axes = {{2, 3}}, uint8 black = {{0}}> {{
    shape = Shape <start=2, end=4> (image)
    lengths = Cast <to=11> (shape)
    longest = ReduceMax <keepdims=0> (lengths)
    shares = Div (lengths, longest)
    exact = Mul (shares, side)
    rounded = Round (exact)
    kept = Cast <to=7> (rounded)
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
