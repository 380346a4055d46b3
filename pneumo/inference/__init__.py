"""Use of trained networks: ensembles, heat maps, out-of-distribution flags, ONNX."""
