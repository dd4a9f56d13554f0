"""Files of dataset repositories on the Hugging Face hub: found, downloaded with resume, checked by their hashes.

``huggingface_hub`` does the talking. Its downloads start again after an interrupt, so the parts are kept here: a
partial file is named after the hash of the whole, and a file that changed on the hub never continues an old part.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgvad.errors import DatasetError, UsageError, first_line
from kgvad.settings import load_settings
from kgvad.sources.recipe import Download

logger = logging.getLogger(__name__)
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a fixed commit.

    Attributes
    ----------
    repository, commit, path
        Where it is.
    size
        Bytes.
    digest
        SHA-256 of the content of a large file, else the SHA-1 that git gives it.
    """

    repository: str
    commit: str
    path: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        """Repository and path, for messages."""
        return f"{self.repository}: {self.path}"


class Hub:
    """The hub that ``HF_ENDPOINT`` names; every repository is asked once."""

    def __init__(self) -> None:
        self._trees: dict[tuple[str, str], list[HubFile]] = {}

    def find(self, download: Download) -> list[HubFile]:
        """Files of ``download``, sorted by path.

        Raises
        ------
        DatasetError
            The repository cannot be reached, or no file matches, or several do where one is meant.
        """
        tree = self._tree(download.repository, download.revision)
        found = [file for file in tree if fnmatch.fnmatchcase(file.path, download.match)]
        if not found or (len(found) > 1 and not download.several):
            kind = Path(download.match).suffix
            there = found or [file for file in tree if file.path.endswith(kind)] or tree
            shown = ", ".join(file.path for file in there[:4]) + (" ..." if len(there) > 4 else "")
            raise DatasetError(
                f"{download.repository} has {len(found)} files {download.match!r} where the recipe expects "
                f"{'some' if download.several else 'one'} (it has: {shown or 'no files'})",
                "the source has changed; fetch it by hand and import it with kgvad features import",
            )
        return found

    def _tree(self, repository: str, revision: str) -> list[HubFile]:
        if (repository, revision) not in self._trees:
            if load_settings().offline:
                raise UsageError(
                    "KGVAD_OFFLINE forbids fetching published data", "unset it (and 'offline' in kgvad.toml)"
                )
            from huggingface_hub import HfApi

            with _talking_to_hub(repository):
                info = HfApi(endpoint=_endpoint()).dataset_info(repository, revision=revision, files_metadata=True)
            commit = info.sha or revision
            self._trees[repository, revision] = sorted(
                (_hub_file(repository, commit, one) for one in info.siblings or ()), key=lambda file: file.path
            )
        return self._trees[repository, revision]


def _hub_file(repository: str, commit: str, sibling: Any) -> HubFile:
    large = sibling.lfs
    digest = large.sha256 if large is not None else sibling.blob_id
    if sibling.size is None or not digest:
        raise DatasetError(f"the hub states no size or hash of {repository}: {sibling.rfilename}", "try again later")
    return HubFile(repository, commit, sibling.rfilename, int(sibling.size), digest)


def fetch(file: HubFile, folder: Path) -> Path:
    """Download ``file`` below ``folder`` and return its path; a part of an earlier attempt is continued.

    Raises
    ------
    DatasetError
        The hub cannot be reached, or what it sent has another size or hash.
    """
    # by digest, not by name: names of a repository are never used as paths
    target = folder / f"{file.digest}{Path(file.path).suffix.lower()[:12]}"
    if target.is_file() and target.stat().st_size == file.size and _digest(target, file) == file.digest:
        return target
    part = folder / f"{file.digest}.part"
    folder.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.is_file() else 0
    if done > file.size:
        part.unlink()
        done = 0
    if done:
        logger.info("continuing %s at %s of %s", file.path, megabytes(done), megabytes(file.size))
    _download(file, part, done)
    found = _digest(part, file)
    if found != file.digest:
        part.unlink()
        raise DatasetError(
            f"{file.name} arrived with the hash {found[:16]}… instead of {file.digest[:16]}…",
            "run the same command again; the damaged file was deleted",
        )
    part.replace(target)
    return target


def _download(file: HubFile, part: Path, done: int) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented as public

    url = hf_hub_url(file.repository, file.path, repo_type="dataset", revision=file.commit, endpoint=_endpoint())
    with _talking_to_hub(file.repository), part.open("r+b" if done else "wb") as out:
        out.seek(done)
        http_get(url, out, resume_size=done, headers=build_hf_headers(), expected_size=file.size)


def _digest(path: Path, file: HubFile) -> str:
    """The digest of a downloaded file, of the kind that the hub states for it."""
    if len(file.digest) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)  # as git does
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


@contextmanager
def _talking_to_hub(repository: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"{_endpoint()}/datasets/{repository}"
    try:
        yield
    except GatedRepoError as error:
        raise DatasetError(
            f"{repository} is given on request only", f"ask for access on {page}, then set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DatasetError(f"{repository} is not on the hub, or not in this revision", f"see {page}") from error
    except Exception as error:  # the library raises many unrelated types for "cannot be reached"
        raise _unreachable(repository, error) from error


def _unreachable(repository: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"cannot fetch {repository} from the hub ({first_line(error)})",
        "check the network (and HF_ENDPOINT) and run the same command again; what was downloaded is kept",
    )


def megabytes(size: int) -> str:
    """A size for people: ``499 MB``, ``4.2 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.3g} MB"
