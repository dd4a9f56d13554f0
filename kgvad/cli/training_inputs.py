"""What ``kgvad train`` and ``kgvad tune`` read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgvad.detector.run import TrainConfig
    from kgvad.detector.training.inputs import TrainingData
    from kgvad.session import Session


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of a training as options name them; ``None`` where an option was not given."""

    dataset: str | None
    features: Path | None
    encoder: str | None
    anchors: Path | None
    captions: Path | None
    caption_texts: Path | None
    lists: Path | None
    text_encoder: str | None
    config: Path | None

    def check(self) -> None:
        """Refuse what does not exist, before anything large is imported.

        Features and anchors of a folder of videos may be missing: they are made.
        """
        from kgvad.errors import AnchorError, FeatureError, UsageError
        from kgvad.given import must_exist
        from kgvad.settings import load_settings

        named = self.dataset or load_settings().dataset
        if named is None or not Path(named).expanduser().is_dir():
            must_exist(self.features, FeatureError, "make features with: kgvad extract VIDEOS --output FOLDER")
            must_exist(self.anchors, AnchorError, "make it with: kgvad build-anchors --dataset NAME")
        must_exist(self.lists, UsageError, "name the folder of the dataset's official lists")
        must_exist(self.captions, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")
        must_exist(self.caption_texts, UsageError, "name a file {video: {frame: caption}}")
        must_exist(self.config, UsageError, "name a TOML or JSON file")

    def load(self, session: Session, config: TrainConfig) -> TrainingData:
        """Find the training data of the dataset of ``session``, or make it of a folder of videos."""
        from kgvad.detector.data.folder_dataset import FolderTools
        from kgvad.detector.training.distributed import ProcessGroup
        from kgvad.detector.training.inputs import Sources, find_training_data

        sources = Sources(
            session.features_root,
            session.settings.features_root(session.dataset_ref.name),
            session.bank_path,
            session.settings.anchors is not None,
            self.lists,
            self.encoder,
            self.captions,
            self.text_encoder,
            self.caption_texts,
        )
        tools = FolderTools(session.visual_encoder, session.text_encoder, lambda: session.graph)
        with ProcessGroup(session.device).main_process_first():
            return find_training_data(session.dataset_ref, sources, config, tools)
