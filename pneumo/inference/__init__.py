"""What a trained network is asked: ensembles, heat maps, out-of-distribution flags, ONNX."""
