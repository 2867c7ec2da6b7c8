"""The two encoder classes that Pyserini or your own code calls, and the text encoder inside them."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pyserini_tasb.encoding.index_manifest import EncoderIdentity
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.backends import Models, reduced
from pyserini_tasb.models.checkpoints import find_checkpoint, is_exported, weights_digest
from pyserini_tasb.models.queues import queue_of, vectors_by_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.models.backends import Model, Texts
    from pyserini_tasb.models.queues import BatchQueue
    from pyserini_tasb.models.tokenizers import TextTokenizer
    from pyserini_tasb.recipes.types import Backend, EncoderCard, Precision


LOG = logging.getLogger(__name__)

CHARACTERS_SHOWN = 60
QUERIES_KEPT = 4_096  # 13 MB of vectors of 768 dimensions


class TasbQueryEncoder:
    """A query encoder, for every place where Pyserini takes one. It needs neither Pyserini nor a JVM.

    Args:
        encoder_dir: the encoder, as `--encoder` takes it: `tasb`, `tasb:NAME`, a folder, a hub id, or a card's path.
        tokenizer_name: a tokenizer to use instead of the model's own.
        device: `cpu`, `cuda:0`, …
        prefix: text that comes before each query, with a space, as Pyserini's `--query-prefix`; replaces the card's
            prefix.
        fp16: compute in reduced precision where the hardware has it (bf16 on CPUs).
        backend: `torch`, `onnx` or `auto`, instead of the card's and of PYSERINI_TASB_BACKEND.
        queries_kept: the number of query vectors to keep for repeated queries; 0 encodes each time.
        others: ignored. Pyserini guesses some arguments from the encoder's name, and the card has the right values.

    Raises:
        TasbError: the encoder does not exist, or its weights are not on this machine.
    """

    def __init__(
        self,
        encoder_dir: str | None = None,
        tokenizer_name: str | None = None,
        device: str = "cpu",
        prefix: str | None = None,
        fp16: bool = False,
        *,
        backend: Backend | None = None,
        queries_kept: int = QUERIES_KEPT,
        **others: Any,
    ) -> None:
        if not encoder_dir:
            raise TasbError(
                expected="encoder_dir: the encoder's name, folder or hub id",
                found="no encoder_dir" + (", but encoded queries" if others.get("encoded_query_dir") else ""),
                do="pass `tasb` (pre-encoded queries are read by Pyserini's own `QueryEncoder`)",
            )
        from pyserini_tasb.recipes.lookup import encoder_card  # brings pydantic, which `TextEncoder` does without

        self.name = encoder_dir
        card = encoder_card(encoder_dir)
        self._card = card.model_copy(update={"precision": reduced(card.precision)}) if fp16 else card
        self._encoder = TextEncoder(self._card, device, tokenizer_name, backend=backend, texts="queries")
        self._cache = QueryCache(queries_kept)
        self._prefix = self._card.query_prefix if prefix is None else f"{prefix} "
        self.dimension = self._encoder.dimension

    @functools.cached_property
    def identity(self) -> EncoderIdentity | None:
        """The identity that an index of this encoder's vectors lists; None for exports of earlier versions."""
        return self._encoder.identity(self.name)

    def encode(self, query: str, max_length: int | None = None, **others: Any) -> NDArray[np.float32]:
        """The vector [dimension] of one query.

        Args:
            query: the query's text; `None` is the empty text.
            max_length: the most tokens of the query, special tokens included, if lower than the card's limit.
            others: ignored, such as a topic's other fields.

        Raises:
            TasbError: the query is not a text.
        """
        given: object = query  # whatever its caller's types say
        if given is not None and not isinstance(given, str):
            many = isinstance(given, Iterable) and not isinstance(given, bytes)
            do = "encode several queries by `encode_batch(queries)`" if many else "pass its text, a `str`"
            raise TasbError(expected="the text of one query", found=_described(given), do=do)
        vector: NDArray[np.float32] = self.encode_batch([query], max_length)[0]
        return vector

    def encode_batch(self, queries: Sequence[str], max_length: int | None = None) -> NDArray[np.float32]:
        """Vectors [queries, dimension].

        Args:
            queries: the queries' texts. `None` is the empty text.
            max_length: the most tokens of a query, special tokens included, if lower than the card's limit.

        Raises:
            TasbError: the argument is one text instead of several, or not text.
        """
        texts = _texts(queries, "queries", "encode one query by `encode(query)`")
        cap = min(max_length or self._card.query_max_length, self._card.query_max_length)
        asked = [(self._prefix + text, cap) for text in texts]
        vectors = self._cache.known(asked)
        new = [query for query in dict.fromkeys(asked) if query not in vectors]
        if new:
            encoded = self._encoder.encode([text for text, _ in new], max_length=cap)
            vectors.update(zip(new, encoded, strict=True))
            self._cache.add(new, encoded)
        return np.stack([vectors[query] for query in asked]) if asked else np.empty((0, self.dimension), np.float32)


class TasbDocumentEncoder:
    """A passage encoder, for every place where Pyserini takes a document encoder. It needs neither Pyserini nor a JVM.

    Args:
        model_name: the encoder, as `--encoder` takes it: `tasb`, `tasb:NAME`, a folder, a hub id, or a card's path.
        tokenizer_name: a tokenizer to use instead of the model's own.
        device: `cpu`, `cuda:0`, …; by default a GPU if the back end has one.
        prefix: text that comes before each passage, with a space, as Pyserini's `--prefix`; replaces the card's prefix.
        backend: `torch`, `onnx` or `auto`, instead of the card's and of PYSERINI_TASB_BACKEND.
        others: ignored. Pyserini guesses some arguments from the encoder's name, and the card has the right values.

    Raises:
        TasbError: the encoder does not exist, or its weights are not on this machine.
    """

    def __init__(
        self,
        model_name: str,
        tokenizer_name: str | None = None,
        device: str | None = None,
        prefix: str | None = None,
        *,
        backend: Backend | None = None,
        **others: Any,
    ) -> None:
        from pyserini_tasb.recipes.lookup import encoder_card

        self._card = encoder_card(model_name)
        self._encoder = TextEncoder(self._card, device, tokenizer_name, backend=backend)
        self._prefix = self._card.passage_prefix if prefix is None else f"{prefix} "
        self.dimension = self._encoder.dimension
        self._noted: set[str] = set()

    def encode(
        self,
        texts: Sequence[str | None],
        titles: Sequence[str | None] | None = None,
        max_length: int | None = None,
        add_sep: bool = False,
        fp16: bool = False,
        **others: Any,
    ) -> NDArray[np.float32]:
        """Vectors [passages, dimension], row i for passage i.

        Args:
            texts: the passages. `None`, Pyserini's value for an empty field, is the empty text.
            titles: a title for each passage, which comes before it; None where a passage has no title.
            max_length: the most tokens of a passage, special tokens included, if lower than the card's limit.
            add_sep: encode title and passage as two segments (`[CLS] title [SEP] passage [SEP]`) instead of one text.
            fp16: compute in reduced precision where the hardware has it (bf16 on CPUs).
            others: other fields of the collection, from Pyserini. They are not encoded, and a note says so.

        Raises:
            TasbError: the argument is one text instead of several, or not text, or the numbers of titles and texts
                differ.
        """
        if unused := {name for name, values in others.items() if values is not None} - self._noted:
            self._noted |= unused
            LOG.info(
                "not encoded: %s. Of Pyserini's `--fields`, only `title` and `text` are encoded; `tasb encode` joins "
                "any fields",
                ", ".join(sorted(unused)),
            )
        passages = _texts(texts, "texts", "pass one text as `[text]`")
        pairs = None
        if titles is not None:
            headings = _texts(titles, "titles", "pass one title as `[title]`")
            if len(headings) != len(passages):
                raise TasbError(
                    expected=f"a title for each of the {len(passages)} texts, `None` where there is none",
                    found=f"{len(headings)} titles",
                    do="check the two arguments",
                )
            if add_sep:
                passages, pairs = headings, passages
            else:
                passages = [f"{title} {text}".strip() for title, text in zip(headings, passages, strict=True)]
        cap = self._card.passage_max_length
        return self._encoder.encode(
            [self._prefix + passage for passage in passages],
            pairs,
            max_length=min(max_length or cap, cap),
            precision=reduced(self._card.precision) if fp16 else None,
        )


def _texts(given: Iterable[str | None], name: str, for_one: str) -> list[str]:
    """Texts that a caller handed over, `None` as the empty text.

    Raises:
        TasbError: it is one text, whose letters would be taken for texts, or something in it is no text.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TasbError(expected=f"a list of texts for {argument(name)}", found=_described(given), do=for_one)
    texts: list[Any] = list(given)
    for number, text in enumerate(texts):
        if text is not None and not isinstance(text, str):
            do = "pass texts, and `None` for empty ones"
            raise TasbError(expected=f"texts for {argument(name)}", found=f"{_described(text)} at {number}", do=do)
    return [text or "" for text in texts]


def _described(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__}: {shown[:CHARACTERS_SHOWN]}{'…' if len(shown) > CHARACTERS_SHOWN else ''}"


class TextEncoder:
    """Tokenise, batch by length, run the model.

    Args:
        card: which model, how it pools, and what computes it.
        device: `cpu`, `cuda:0`, …; None for a GPU if the back end has one.
        tokenizer: a hub id or folder, where it is not the model's own.
        backend: the back end; by default $PYSERINI_TASB_BACKEND, or else the card's.
        texts: the kind of texts to encode. For `queries`, which are short and come one at a time, `auto` minimises
            latency.

    Raises:
        TasbError: the model is not on this machine and cannot be downloaded, is of another kind, or has another
            tokenizer.
    """

    def __init__(
        self,
        card: EncoderCard,
        device: str | None = "cpu",
        tokenizer: str | None = None,
        *,
        backend: Backend | None = None,
        texts: Texts = "passages",
    ) -> None:
        self.card = card
        self._models = Models(card, device, backend, texts=texts)
        self.device = self._models.device
        model = self._models.at(card.precision)
        self.dimension = _dimension(card, model.dimension)
        self._tokenizer = model.tokenizer(tokenizer)
        self.pad_id = self._tokenizer.pad_id
        # A tokenizer that knows no limit says 10**30.
        self.longest = min(self._tokenizer.longest, model.longest or card.passage_max_length)
        self._queues: dict[Precision, BatchQueue] = {}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, as one of transformers."""
        return self._tokenizer.hugging_face

    def identity(self, name: str) -> EncoderIdentity | None:
        """The identity that makes its vectors comparable; None for an export that does not say what it was made from.

        Args:
            name: what `--encoder` was given.

        Raises:
            TasbError: weights that cannot be read.
        """
        folder = find_checkpoint(self.card.model, allow_bin=self.card.allow_bin)
        tokenizer = _tokenizer_digest(self._tokenizer)
        if not is_exported(folder):
            return EncoderIdentity(name, weights_digest(folder), tokenizer, self.card.pooling, self.card.normalise)
        from pyserini_tasb.models.onnx import read_about

        about = read_about(folder)
        if about.source_weights is None:  # exported by an earlier version
            return None
        return EncoderIdentity(name, about.source_weights, tokenizer, about.pooling, about.normalise)

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int,
        precision: Precision | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [texts, dimension], row i for text i.

        Args:
            texts: what to encode.
            pairs: second segments, one for each text: `[CLS] text [SEP] pair [SEP]`.
            max_length: tokens kept of each text, special tokens included.
            precision: the number format to compute in, or in a more accurate one; by default the card's.
        """
        token_ids = self._tokenizer.token_ids(texts, pairs, min(max_length, self.longest)) if len(texts) else []
        return self.encode_tokens(token_ids, precision=precision)

    def encode_tokens(
        self, token_ids: Sequence[Sequence[int]], *, precision: Precision | None = None
    ) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of texts that this model's tokenizer has tokenised, special tokens included."""
        model = self._model(precision)
        vectors = vectors_by_length(
            model, token_ids, pad_id=self.pad_id, dimension=model.dimension, queue=self._queue(precision)
        )
        return self._cut(vectors)

    def begin_tokens(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int64], *, precision: Precision | None = None
    ) -> Callable[[], NDArray[np.float32]]:
        """Hand over a batch to the model. What is returned waits for its vectors [texts, dimension].

        Args:
            token_ids: the token ids of all texts, one text after the other, special tokens included.
            lengths: [texts] in tokens.
            precision: the number format to compute in, or in a more accurate one; by default the card's.
        """
        wait = self._queue(precision).begin(token_ids, lengths)
        return lambda: self._cut(wait())

    def batches_ahead(self, precision: Precision | None = None) -> int:
        """The batches to hand over by `begin_tokens` before the vectors of the first are asked for: 0 on a CPU."""
        return self._queue(precision).ahead

    def tokens_per_batch(self, precision: Precision | None = None) -> int:
        """The tokens that `encode_tokens` gives the model at once, padding included."""
        return self._model(precision).tokens_per_batch

    def computes(self, precision: Precision | None = None) -> str:
        """Back end and number format, such as `onnx fp32`."""
        return self._models.name(precision or self.card.precision)

    def _model(self, precision: Precision | None) -> Model:
        return self._models.at(precision or self.card.precision)

    def _queue(self, precision: Precision | None) -> BatchQueue:
        precision = precision or self.card.precision
        if precision not in self._queues:
            self._queues[precision] = queue_of(self._model(precision), self.pad_id)
        return self._queues[precision]

    def _cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.card.dimension is None:
            return vectors
        cut = vectors[:, : self.dimension].copy()
        if self.card.normalise:
            cut /= np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return cut


def _dimension(card: EncoderCard, longest: int) -> int:
    """The length of a card's vectors, of which the model makes those of length `longest`."""
    if card.dimension is None:
        return longest
    if card.dimension > longest:
        raise TasbError(
            where=f"the card `{card.name}`",
            expected=f"`dimension` of at most {longest}, the length of the model's vectors",
            found=str(card.dimension),
            do="lower it, or leave it out",
        )
    return card.dimension


# Letter case, accents, marks, numbers, other scripts, a long word: what tokenizers treat in different ways.
SAMPLE = (
    "Dense RETRIEVAL isn't naïve: 1,024-dimensional  vectors (cf. Straße, 検索, поиск) — antidisestablishmentarianism\n"
)
SAMPLE_TOKENS = 256


def _tokenizer_digest(tokenizer: TextTokenizer) -> str:
    """A digest of a tokenizer's vocabulary, and of the tokens that a sample text becomes.

    Its files do not count: they differ between versions of the library that writes them.
    """
    behaviour = [sorted(tokenizer.vocabulary.items()), tokenizer.token_ids([SAMPLE], None, SAMPLE_TOKENS)]
    return hashlib.sha256(json.dumps(behaviour).encode()).hexdigest()


Query: TypeAlias = tuple[str, int]
"""A text, and how many tokens of it are kept."""


class QueryCache:
    """The most recently used vectors, for any number of threads.

    Args:
        size: how many; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[Query, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def known(self, queries: Iterable[Query]) -> dict[Query, NDArray[np.float32]]:
        """The vectors [dimension] of those queries that are here."""
        found = {}
        with self._lock:
            for query in queries:
                if query in self._vectors:
                    self._vectors.move_to_end(query)
                    found[query] = self._vectors[query]
        return found

    def add(self, queries: Iterable[Query], vectors: NDArray[np.float32]) -> None:
        """Keep vectors [queries, dimension]; those used longest ago make room."""
        with self._lock:
            for query, vector in zip(queries, vectors, strict=True):
                self._vectors[query] = vector.copy()  # or the whole batch would stay in memory
                self._vectors.move_to_end(query)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
