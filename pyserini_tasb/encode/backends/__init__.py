"""What computes vectors: PyTorch, or ONNX Runtime with a folder that `tasb export` wrote."""
