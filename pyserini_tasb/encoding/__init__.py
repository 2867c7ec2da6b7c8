"""Text to vectors: the two encoder classes, a whole corpus to a folder of vectors, and export to ONNX."""
