"""`tasb export`: a card's model as a graph for ONNX Runtime."""
