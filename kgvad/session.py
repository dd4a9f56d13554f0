"""What the commands of one process share: device, knowledge graph, encoders and anchor banks, each made on first use.

A session is built from :class:`~kgvad.settings.Settings` and stands beside the command line. The packages never see it:
they receive the objects it makes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kgvad.device import resolve_device
from kgvad.settings import DEFAULT_DATASET, Settings, load_settings

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.kg.store.cache import Store
    from kgvad.kg.tables import CategoryTable
    from kgvad.video.encoders.base import VisualEncoder

logger = logging.getLogger(__name__)


class Session:
    """Shared objects, built from settings.

    Parameters
    ----------
    settings
        Default: :func:`~kgvad.settings.load_settings` of the working folder.
    typed
        What the command line gave, for :func:`~kgvad.settings.load_settings`; ``None`` counts as not given.
    """

    def __init__(self, settings: Settings | None = None, **typed: Any) -> None:
        self.settings = settings or load_settings(**typed)
        self._text_encoders: dict[str | None, TextEncoder] = {}
        self._visual_encoders: dict[tuple[Any, ...], VisualEncoder] = {}
        self._banks: dict[tuple[str, str | None], AnchorBank] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the knowledge-graph cache, if it was opened."""
        if "graph" in vars(self):
            self.graph.close()
            del self.graph

    @property
    def dataset(self) -> str:
        """Name of the dataset, or the path of its category table or folder of videos."""
        return self.settings.dataset or DEFAULT_DATASET

    @cached_property
    def device(self) -> str:
        """Torch device; ``auto`` is resolved and said once."""
        return resolve_device(self.settings.device)

    @cached_property
    def graph(self) -> Store:
        """The knowledge-graph cache."""
        from kgvad.kg.store.cache import Store

        return Store.open(self.settings.store)

    def table(self, dataset: str | None = None) -> CategoryTable:
        """Category table of ``dataset`` (default: of the session)."""
        from kgvad.kg.tables import load_table

        return load_table(dataset or self.dataset)

    def text_encoder(self, name: str | None = None) -> TextEncoder:
        """Text encoder by name or model folder; ``None``: the default one. Loaded once."""
        from kgvad.anchors.text_encoders import load_text_encoder

        if name not in self._text_encoders:
            self._text_encoders[name] = load_text_encoder(name, self.device)
        return self._text_encoders[name]

    def visual_encoder(self, name: str | None = None, **options: Any) -> VisualEncoder:
        """Visual encoder by name; ``options`` are those of :func:`load_visual_encoder`. Loaded once."""
        from kgvad.video.encoders.base import load_visual_encoder

        key = (name, *sorted(options.items()))
        if key not in self._visual_encoders:
            self._visual_encoders[key] = load_visual_encoder(name, self.device, **options)
        return self._visual_encoders[key]

    def bank(self, *, joint: str | None = None) -> AnchorBank:
        """The configured anchor bank, else the default one of the dataset, built where it is missing.

        Parameters
        ----------
        joint
            Visual encoder with which the default bank must share a space; ``None``: any bank will do.
        """
        from kgvad.anchors.bank import AnchorBank

        key = (self.dataset, joint)
        if key not in self._banks:
            if self.settings.anchors is not None:
                self._banks[key] = AnchorBank.load(self.settings.anchors)
            else:
                self._banks[key] = self._default_bank(joint)
        return self._banks[key]

    def open_bank(self, bank: AnchorBank, queries: Sequence[str]) -> AnchorBank:
        """``bank`` with one more category for each query (words, or an item such as Q4654740)."""
        from kgvad.anchors.bank import open_vocabulary

        if not queries:
            return bank
        return open_vocabulary(bank, self.text_encoder(bank.encoder.name), self.graph, queries)

    def _default_bank(self, joint: str | None) -> AnchorBank:
        from kgvad.anchors.bank import AnchorBank, build_bank

        stem = Path(self.dataset).stem
        path = self.settings.bank_path(stem)
        if path.is_file():
            bank = AnchorBank.load(path)
            if joint is None or bank.encoder.joint == joint:
                return bank
            path = self.settings.bank_path(f"{stem}-{joint}")
            if path.is_file():
                return AnchorBank.load(path)
        logger.info("no anchor bank for %s yet: building %s from the bundled facts", self.dataset, path)
        bank = build_bank(self.table(), self.graph, self.text_encoder(joint))
        bank.save(path)
        return bank
