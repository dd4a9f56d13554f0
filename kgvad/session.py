"""What the commands of one process share: device, knowledge graph, encoders and anchor banks, each made on first use.

A session is built from :class:`~kgvad.settings.Settings` and stands beside the command line. The packages never see it:
they receive the objects it makes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kgvad.device import resolve_device
from kgvad.errors import KgvadError, RunError, UsageError, WeightsError
from kgvad.files import read_json
from kgvad.settings import DEFAULT_DATASET, Settings, given_by, load_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kgvad.anchors.bank import AnchorBank
    from kgvad.anchors.text_encoders import TextEncoder
    from kgvad.kg.datasets import DatasetRef
    from kgvad.kg.sources.wikidata import WikidataClient
    from kgvad.kg.store.cache import GraphStore
    from kgvad.kg.tables import Category, CategoryTable
    from kgvad.video.captioners.base import Captioner, CaptionerOptions
    from kgvad.video.encoders.base import VisualEncoder
    from kgvad.video.redaction import FaceFinder

logger = logging.getLogger(__name__)


class Session:
    """Shared objects, built from settings.

    Parameters
    ----------
    settings
        Default: :func:`~kgvad.settings.load_settings` of the working folder.
    typed
        What the command line gave, for :func:`~kgvad.settings.load_settings`; ``None`` counts as not given.
    explaining
        Whether videos are explained: features alone then choose no dataset, a run must be there.
    """

    def __init__(self, settings: Settings | None = None, *, explaining: bool = False, **typed: Any) -> None:
        self.settings = settings or load_settings(**typed)
        self._typed = {name for name, value in typed.items() if value is not None}
        self._explaining = explaining
        self._text_encoders: dict[str | None, TextEncoder] = {}
        self._visual_encoders: dict[tuple[object, ...], VisualEncoder] = {}
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

    @cached_property
    def dataset(self) -> str:
        """The dataset as the user wrote it: a name, or the path of a category table or of a folder of videos.

        Default: the dataset with features in the home folder where there is only one, else ``ucf``. To explain videos,
        that of the named run where its categories are known here, or the one with a run.
        """
        if self.settings.dataset:
            return self.settings.dataset
        if of_run := self._dataset_of_run():
            return of_run
        kind = "runs" if self._explaining and self.settings.run is None else "features"
        found = [path.name for path in (self.settings.home / kind).glob("*") if path.is_dir()]
        if len(found) != 1 or found[0] == DEFAULT_DATASET:
            return DEFAULT_DATASET
        logger.info("dataset: %s, the only one with %s", found[0], "a run" if kind == "runs" else "features")
        return found[0]

    def _dataset_of_run(self) -> str | None:
        """The dataset of the run that is named to explain videos, if bundled, or with labels in the home folder."""
        from kgvad.detector.data.annotations import FILE
        from kgvad.kg.tables import bundled_tables, is_dataset_name

        run = self.settings.run
        if run is None or not self._explaining:
            return None
        try:
            name = read_json(run / "config.json", RunError, "name another run")["dataset"]
        except (KgvadError, LookupError, TypeError):
            return None  # whoever reads the run says what is wrong with it
        if not isinstance(name, str) or not is_dataset_name(name):
            return None
        is_known = name in bundled_tables() or (self.settings.features_root(name) / FILE).is_file()
        return name if is_known else None

    @cached_property
    def dataset_ref(self) -> DatasetRef:
        """What :attr:`dataset` names."""
        return self._ref(self.dataset)

    def _ref(self, argument: str | Path) -> DatasetRef:
        """What an argument names; a folder has another name where one of the same name is stored already."""
        from kgvad.kg.datasets import resolve_dataset

        ref = resolve_dataset(argument)
        if ref.kind != "folder" or ref.path is None:
            return ref
        from kgvad.detector.data.folder_dataset import stored_name

        return replace(ref, name=stored_name(ref.path, self.settings.features_root))

    @property
    def bank_path(self) -> Path:
        """The configured anchor bank, else the default place of the dataset's."""
        return self.settings.anchors or self.settings.bank_path(self.dataset_ref.name)

    @property
    def features_root(self) -> Path:
        """The configured root of the feature stores, else the default place of the dataset's."""
        return self.settings.features or self.settings.features_root(self.dataset_ref.name)

    @property
    def run_folder(self) -> Path:
        """The configured run, else the default place of the dataset's."""
        return self.settings.run or self.settings.run_folder(self.dataset_ref.name)

    @cached_property
    def device(self) -> str:
        """Torch device; ``auto`` is resolved and logged once."""
        return resolve_device(self.settings.device, given_by("device", self._typed))

    @cached_property
    def graph(self) -> GraphStore:
        """The knowledge-graph cache."""
        from kgvad.kg.store.cache import GraphStore

        return GraphStore.open(self.settings.store)

    def wikidata(self, tries: int | None = None, languages: Sequence[str] = ("en", "mul")) -> WikidataClient | None:
        """Client of the configured SPARQL service; ``None`` when offline.

        Parameters
        ----------
        tries
            Attempts per request. Default: of :class:`~kgvad.kg.sources.service.ServiceSettings`.
        languages
            Languages of labels, aliases and descriptions, in order of preference.
        """
        from kgvad.kg.sources.service import WIKIDATA, ServiceSettings
        from kgvad.kg.sources.wikidata import WikidataClient

        if self.settings.offline:
            return None
        service = ServiceSettings(
            endpoint=self.settings.endpoint or WIKIDATA,
            contact=self.settings.contact,
            tries=tries or ServiceSettings.tries,
        )
        return WikidataClient(service, languages)

    def table(self) -> CategoryTable:
        """Category table of the dataset; of a folder or an imported dataset, made from the names of its categories.

        Raises
        ------
        UsageError
            The dataset has neither a category table nor labels.
        """
        from kgvad.kg.tables import load_table

        ref = self.dataset_ref
        if ref.kind in ("bundled", "table"):
            return load_table(ref.path or ref.name)
        from kgvad.detector.data.annotations import FILE, Truth

        if ref.path is None and not (self.features_root / FILE).is_file():
            raise unknown_dataset(ref.name)
        from kgvad.detector.data.folder_dataset import folder_table, folder_truth

        return folder_table(Truth.load(self.features_root) if ref.path is None else folder_truth(ref.path, ref.name))

    def category(self, name: str) -> Category:
        """A category of the dataset; where the user named no dataset and this one lacks it, of the default one.

        Raises
        ------
        UsageError
            No category has that name.
        """
        from kgvad.kg.tables import load_table

        try:
            return self.table().category(name)
        except UsageError:
            if self.settings.dataset:
                raise
        found = load_table(DEFAULT_DATASET).category(name)
        logger.info("%s is a category of %s", found.name, DEFAULT_DATASET)
        return found

    def load_bank(self, argument: str | Path | None = None) -> AnchorBank:
        """The anchor bank that an argument names: a dataset, or a file; ``None``: of the session's dataset.

        Raises
        ------
        AnchorError
            There is no such bank.
        """
        from kgvad.anchors.bank import AnchorBank

        return AnchorBank.load(self.bank_file(argument))

    def bank_file(self, argument: str | Path | None = None) -> Path:
        """Path of the anchor bank that :meth:`load_bank` reads."""
        from kgvad.errors import AnchorError

        if argument is not None and Path(argument).suffix == ".safetensors":
            return Path(argument).expanduser()
        ref = self.dataset_ref if argument is None else self._ref(argument)
        path = self.bank_path if argument is None else self.settings.bank_path(ref.name)
        if not path.is_file():
            raise AnchorError(f"{path} does not exist", f"make it with: kgvad build-anchors --dataset {ref.in_shell}")
        return path

    def text_encoder(self, name: str | None = None) -> TextEncoder:
        """Text encoder by name or model folder; ``None``: the default one. Loaded once."""
        from kgvad.anchors.text_encoders import load_text_encoder

        if name not in self._text_encoders:
            encoder = load_text_encoder(name, self.device)
            self._text_encoders[name] = self._text_encoders[encoder.name] = encoder
        return self._text_encoders[name]

    def text_similarity(self) -> Callable[[str, Sequence[str]], NDArray[np.floating]] | None:
        """Cosines of a text with texts, by MiniLM; ``None`` where its weights cannot be had, with one log line."""
        try:
            encoder = self.text_encoder("minilm")
        except WeightsError as error:
            logger.info("texts are not compared: %s", error.message)
            return None
        vectors = cache(encoder.encode)  # the same texts are compared with every text
        return lambda text, texts: vectors(tuple(texts)) @ encoder.encode([text])[0]

    def visual_encoder(self, name: str | None = None, **options: Any) -> VisualEncoder:
        """Visual encoder by name; ``options`` are those of :func:`load_visual_encoder`. Loaded once."""
        from kgvad.video.encoders.base import load_visual_encoder

        key = (name, *sorted(options.items()))
        if key not in self._visual_encoders:
            self._visual_encoders[key] = load_visual_encoder(name, self.device, **options)
        return self._visual_encoders[key]

    def captioner(self, prompt: str | None = None, trusted: str | None = None) -> Captioner:
        """The configured captioner; ``prompt`` and ``trusted`` are those of :class:`CaptionerOptions`."""
        from kgvad.video.captioners.base import load_captioner

        return load_captioner(self.settings.captioner, self.device, self.captioner_options(prompt, trusted))

    def captioner_options(self, prompt: str | None = None, trusted: str | None = None) -> CaptionerOptions:
        """What :meth:`captioner` asks of the configured captioner."""
        from kgvad.video.captioners.base import CaptionerOptions

        return CaptionerOptions(self.settings.caption_model, prompt, trusted)

    @cached_property
    def face_finder(self) -> FaceFinder | None:
        """Finds the faces that are blurred in what is handed on; ``None`` where the settings do not ask for it.

        Raises
        ------
        UsageError
            The package that finds them is not installed.
        """
        from kgvad.video.redaction import FaceFinder

        return FaceFinder() if self.settings.redact else None

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
        from kgvad.anchors.build import open_vocabulary

        if not queries:
            return bank
        return open_vocabulary(bank, self.text_encoder(bank.encoder.source), self.graph, queries)

    def _default_bank(self, joint: str | None) -> AnchorBank:
        from kgvad.anchors.bank import AnchorBank
        from kgvad.anchors.build import build_bank

        name = self.dataset_ref.name
        path = self.settings.bank_path(name)
        if path.is_file():
            bank = AnchorBank.load(path)
            if joint is None or bank.encoder.joint == joint:
                return bank
            path = self.settings.bank_path(f"{name}-{joint}")
            if path.is_file():
                return AnchorBank.load(path)
        logger.info("no anchor bank for %s yet: building %s from the bundled facts", self.dataset, path)
        bank = build_bank(self.table(), self.graph, self.text_encoder(joint))
        bank.save(path)
        return bank


def unknown_dataset(name: str) -> UsageError:
    """The error that nothing is known of a dataset."""
    from kgvad.kg.tables import bundled_tables

    known = ", ".join(bundled_tables())
    return UsageError(
        f"unknown dataset {name!r}", f"known are {known}, or give a category table (.toml) or a folder of videos"
    )
