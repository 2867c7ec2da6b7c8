"""Text to vectors: the two encoder classes that Pyserini (or you) call."""

from pyserini_tasb.encode.document_encoder import TasbDocumentEncoder
from pyserini_tasb.encode.query_encoder import TasbQueryEncoder

__all__ = ["TasbDocumentEncoder", "TasbQueryEncoder"]
