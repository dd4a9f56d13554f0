"""Which datasets there are, and where the anchor bank, features and run of each stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import KgvadError

if TYPE_CHECKING:
    from kgvad.kg.tables import CategoryTable
    from kgvad.session import Session
    from kgvad.settings import Settings
    from kgvad.video.feature_store import FeatureStore


@dataclass(frozen=True)
class Holdings:
    """What was made for a dataset so far.

    Attributes
    ----------
    bank, features, run
        Where the anchor bank, the root of the feature stores and the run stand or would be written.
    stores
        Folders of the feature stores.
    """

    bank: Path
    features: Path
    run: Path
    stores: tuple[Path, ...]

    @property
    def has_bank(self) -> bool:
        """Whether the anchor bank exists."""
        return self.bank.is_file()

    @property
    def has_run(self) -> bool:
        """Whether the run, or a run of several seeds, is trained."""
        return any((folder / "model.safetensors").is_file() for folder in (self.run, *self.run.glob("seed-*")))


def holdings(session: Session, name: str | None = None) -> Holdings:
    """What was made for the dataset called ``name``; default: the session's, in its configured places."""
    settings = session.settings
    if name is None or name == session.dataset_ref.name:
        bank, features, run = session.bank_path, session.features_root, session.run_folder
    else:
        bank, features, run = settings.bank_path(name), settings.features_root(name), settings.run_folder(name)
    return Holdings(bank, features, run, tuple(stores_in(features)))


def stores_in(root: Path) -> list[Path]:
    """Folders of the feature stores in ``root``, which may be one itself."""
    if (root / "manifest.json").is_file():
        return [root]
    return sorted(path.parent for path in root.glob("*/manifest.json"))


def prepared(settings: Settings) -> list[str]:
    """Names of the datasets, other than the bundled ones, of which features, an anchor bank or a run were made."""
    from kgvad.kg.tables import bundled_tables

    names = {path.stem for path in (settings.home / "anchors").glob("*.safetensors")}
    names |= {path.name for kind in ("features", "runs") for path in (settings.home / kind).glob("*") if path.is_dir()}
    return sorted(name for name in names - set(bundled_tables()) if not _is_second_bank(name, names))


def _is_second_bank(name: str, names: set[str]) -> bool:
    """Whether ``name`` is that of a bank in the space of a joint encoder (``ucf-blip``), beside the default one."""
    from kgvad.kg.tables import bundled_tables

    stem, dash, joint = name.rpartition("-")
    return bool(dash) and joint in ("blip", "clip") and stem in names | set(bundled_tables())


def dataset_rows(session: Session) -> list[tuple[str, ...]]:
    """A header, then one row per dataset: name, kind, categories, and what was made."""
    from kgvad.kg.tables import bundled_tables, load_table

    rows: list[tuple[str, ...]] = [("name", "kind", "categories", "anchors", "features", "run")]
    for name in [*bundled_tables(), *prepared(session.settings)]:
        bundled = name in bundled_tables()
        there = holdings(session, name)
        count = str(len(load_table(name).categories)) if bundled else "-"
        kind = "bundled" if bundled else "prepared"
        features = ", ".join(store.name for store in there.stores) or "-"
        rows.append((name, kind, count, _yes(there.has_bank), features, _yes(there.has_run)))
    return rows


def dataset_page(session: Session) -> list[str]:
    """Categories of the session's dataset with their items, and what was made, with the commands for the rest."""
    from kgvad.sources.recipe import recipes

    ref = session.dataset_ref
    table = _table(session)
    there = holdings(session)
    lines = [
        f"{ref.name}: {table.title}" if table else ref.name,
        f"kind: {ref.kind}{f', {ref.path}' if ref.path else ''}",
    ]
    lines += _made("anchors", [there.bank] if there.has_bank else [], f"kgvad build-anchors --dataset {ref.in_shell}")
    lines += _made("features", there.stores, f"kgvad extract VIDEOS --dataset {ref.in_shell}")
    sources = [one.name for one in recipes().values() if one.dataset == ref.name]
    if sources:
        lines.append(f"published sources: {', '.join(sources)}; see kgvad datasets show {sources[0]}")
    lines += _made("run", [there.run] if there.has_run else [], f"kgvad train --dataset {ref.in_shell}")
    for category in table.categories if table else ():
        aliases = f" (also {', '.join(category.aliases)})" if category.aliases else ""
        lines += ["", f"{category.name}{aliases}: {category.text}{', the normal category' if category.normal else ''}"]
        lines += [
            f"  {item.qid}  {item.label}{'' if item.role == 'primary' else '  (related)'}" for item in category.items
        ]
        lines += [f"  cue: {cue}" for cue in category.cues]
    return lines


def _table(session: Session) -> CategoryTable | None:
    """The category table; ``None`` for a prepared dataset that has only features or anchors."""
    try:
        return session.table()
    except KgvadError:
        there = holdings(session)
        if session.dataset_ref.kind == "prepared" and (there.has_bank or there.stores or there.has_run):
            return None
        raise


def _made(what: str, paths: Sequence[Path], command: str) -> list[str]:
    pronoun = "it" if what == "run" else "them"
    return [f"{what}: {path}" for path in paths] or [f"{what}: none yet; make {pronoun} with: {command}"]


def _yes(there: bool) -> str:
    return "yes" if there else "-"


def store_rows(session: Session, root: Path | None = None) -> list[tuple[str, ...]]:
    """A header, then one row per feature store: of ``root``, else of every dataset.

    Raises
    ------
    FeatureError
        A manifest is damaged.
    """
    from kgvad.kg.tables import bundled_tables
    from kgvad.video.feature_store import FeatureStore

    if root is not None:
        found = [(root.name, store) for store in stores_in(root)]
    else:
        names = [*bundled_tables(), *prepared(session.settings), session.dataset_ref.name]
        found = [(name, store) for name in dict.fromkeys(names) for store in holdings(session, name).stores]
    rows: list[tuple[str, ...]] = [("dataset", "encoder", "videos", "snippets", "dim", "crops", "folder")]
    for name, folder in found:
        store = FeatureStore.open(folder)
        made = store.manifest
        snippets = sum(entry.rows for entry in made.videos.values())
        counts = (str(one) for one in (len(made.videos), snippets, made.dim, made.crops))
        rows.append((name, made.encoder, *counts, str(folder)))
    return rows


def check_store(store: FeatureStore) -> tuple[list[str], list[str]]:
    """How a feature store was made, and what is wrong with its arrays: one line per damaged video."""
    made = store.manifest
    names = ("encoder", "dim", "crop", "crops", "temporal", "stride", "weights", "fingerprint", "made_by", "note")
    lines = [f"{name}: {value}" for name in names if (value := getattr(made, name)) is not None]
    faults, snippets = [], 0
    for video in store.ids():
        try:
            snippets += store.load(video).shape[-2]
        except KgvadError as error:
            faults.append(str(error))
    lines += [f"videos: {len(store.ids())}", f"snippets: {snippets}"]
    return lines, faults
