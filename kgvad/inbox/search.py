"""Find videos by words, in the texts of their reports: literally, and by the meaning that a text encoder sees."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.inbox.library import Library

if TYPE_CHECKING:
    from kgvad.anchors.text_encoders import TextEncoder

LONGEST = 200  # characters of a query that are used
LEAST_SIMILARITY = 0.4  # cosine from which another wording counts; words without relation stay below .3 (MiniLM)
PATIENCE_S = 1.0  # that a search waits for the text encoder


@dataclass(frozen=True)
class Hit:
    """Why a video is found: the text of its report nearest to the query, when it applies, and how near it is."""

    text: str
    time_s: float
    similarity: float  # 1 where the words of the query are in the text, else the cosine


@dataclass
class Searcher:
    """Searches a library. Texts are encoded once.

    The first search begins to load the text encoder; until it is there, only the words themselves are found.

    Attributes
    ----------
    library
        The inbox.
    load
        Gives the text encoder; ``None`` where there is none, so that only the words themselves are found.
    """

    library: Library
    load: Callable[[], TextEncoder | None]
    _vectors: dict[str, NDArray[np.floating]] = field(default_factory=dict)
    _encoder: TextEncoder | None = None
    _loading: threading.Thread | None = None

    @property
    def is_loading(self) -> bool:
        """Whether the text encoder is being loaded."""
        return self._loading is not None and self._loading.is_alive()

    def search(self, query: str) -> dict[int, Hit]:
        """The best hit of each video that is found, by number of the video, best first."""
        query = " ".join(query.split())[:LONGEST]
        found = self.library.mentions()
        if not query or not found:
            return {}
        similarity = self._similarities(query, list({mention.text for mention in found}))
        best: dict[int, Hit] = {}
        for mention in found:
            hit = Hit(mention.text, mention.time_s, similarity[mention.text])
            if hit.similarity >= LEAST_SIMILARITY and (
                mention.video_id not in best or hit.similarity > best[mention.video_id].similarity
            ):
                best[mention.video_id] = hit
        return dict(sorted(best.items(), key=lambda item: -item[1].similarity))

    def _similarities(self, query: str, texts: list[str]) -> dict[str, float]:
        words = query.casefold().split()
        literal = {text: float(all(word in text.casefold() for word in words)) for text in texts}
        if self._loading is None:
            self._loading = threading.Thread(target=self._prepare, args=(texts,), name="text encoder", daemon=True)
            self._loading.start()
            self._loading.join(PATIENCE_S)
        if self.is_loading or self._encoder is None:
            return literal
        self._encode(self._encoder, [query, *texts])
        wanted = self._vectors[query]
        return {text: max(literal[text], float(self._vectors[text] @ wanted)) for text in texts}

    def _prepare(self, texts: list[str]) -> None:
        encoder = self.load()
        if encoder is not None:
            self._encode(encoder, texts)
        self._encoder = encoder

    def _encode(self, encoder: TextEncoder, texts: list[str]) -> None:
        new = [text for text in texts if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, np.asarray(encoder.encode(new)), strict=True))
