"""What labels mean: which are normal, and which category each names. A label is read as words, not as a substring."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from kgvad.errors import FeatureError, KgvadError, UsageError
from kgvad.kg.tables import bundled_tables, load_table, name_key

NORMAL = "Normal"
ANOMALY = "Anomaly"  # the category of labels 1
XD_CODES = {
    "B1": "Fighting", "B2": "Shooting", "B4": "Riot", "B5": "Abuse", "B6": "CarAccident", "G": "Explosion",
}  # fmt: skip
_NEGATIONS = ("non", "not", "no", "without")
_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")


def words_of(label: str) -> list[str]:
    """Words of a label, lower case: ``Training_Normal_Videos`` and ``NonFight`` have three and two."""
    return [word.lower() for word in re.findall(r"[^\W\d_]+", re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", label))]


def is_normal_name(label: str) -> bool:
    """Whether a label has the word normal, not denied: Normal, normal_videos, Testing_Normal_Videos_Anomaly."""
    words = words_of(label)
    return any(word == "normal" and words[index - 1 : index] not in ([one] for one in (*_NEGATIONS, "ab"))
               for index, word in enumerate(words))  # fmt: skip


def denied(label: str) -> str | None:
    """What a label denies, as one lower-case word: ``NonFight`` and ``non-fight`` give ``fight``; else ``None``."""
    words = words_of(label)
    if len(words) > 1 and words[0] in _NEGATIONS:
        return "".join(words[1:])
    if len(words) == 1 and words[0].startswith("non") and len(words[0]) > 5:
        return words[0][3:]
    return None


def xd_labels(code: str) -> tuple[str, ...]:
    """Categories of an XD-Violence code: ``B2-B6-0`` gives Shooting and CarAccident, ``A`` none.

    Raises
    ------
    FeatureError
        A part of the code is unknown.
    """
    parts = [part for part in code.split("-") if part not in ("0", "A")]
    unknown = [part for part in parts if part not in XD_CODES]
    if unknown:
        raise FeatureError(f"{code!r} has the unknown part {unknown[0]!r}", f"known: A, 0, {', '.join(XD_CODES)}")
    return tuple(dict.fromkeys(XD_CODES[part] for part in parts))


def read_labels(
    labels: Iterable[str],
    dataset: str,
    categories: Sequence[str] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Categories of each label; empty for a normal one.

    Parameters
    ----------
    labels
        The different labels of a source; what one means can depend on the others (``Fight`` and ``NonFight``).
    dataset
        Name of the dataset.
    categories
        Its categories, where they are known; ``None``: each label that is not normal is a category.
    renamed
        What the user says labels mean, ``Normal`` or a category.

    Raises
    ------
    FeatureError
        A label is no category of the dataset, or nothing says which label means normal; the message has the remedy.
    """
    known = list(dict.fromkeys(labels))
    said = {str(key).casefold(): value for key, value in (renamed or {}).items()}
    open_ = [label for label in known if label.casefold() not in said]
    found: dict[str, tuple[str, ...]] = {}
    for label in known:
        if label.casefold() in said:
            value = said[label.casefold()]
            found[label] = () if is_normal_name(value) else _of_dataset(value, dataset, categories)
        else:
            found[label] = _meaning(label, open_, dataset, categories)
    for label in known:
        parts = [part.strip() for part in label.split("|") if part.strip()]
        if len(parts) > 1 and label.casefold() not in said:  # Fight|Arson: both
            found[label] = tuple(name for part in parts for name in _meaning(part, open_, dataset, categories))
    spelled: dict[str, str] = {}  # Fight and fight are one category, spelled as it is met first
    for label, names in found.items():
        found[label] = tuple(spelled.setdefault(name_key(name), name) for name in names)
    if categories is None and len(known) > 1 and all(found.values()):
        raise FeatureError(
            f"none of the labels {', '.join(sorted(known)[:8])} means normal",
            f"say which one does: --label {sorted(known)[0]}={NORMAL}",
        )
    return found


def _meaning(label: str, labels: Sequence[str], dataset: str, categories: Sequence[str] | None) -> tuple[str, ...]:
    if is_normal_name(label):
        return ()
    if dataset == "xd" and re.fullmatch(r"(A|0|[BG]\d?)(-[A-Z0-9]+)*", label):
        return xd_labels(label)
    if _NUMBER.fullmatch(label):
        return _of_number(label, labels, dataset, categories)
    rest = denied(label)
    if rest is not None and not rest.startswith(NORMAL.casefold()) and not find_category(label, dataset, categories):
        others = {"".join(words_of(other)) for other in labels if other != label}
        if any(_same_stem(rest, other) for other in others):
            return ()
        raise FeatureError(
            f"the label {label!r} may mean normal or a category", f"say it with --label {label}={NORMAL}, or rename it"
        )
    return _of_dataset(label, dataset, categories)


def _same_stem(one: str, other: str) -> bool:
    """Whether two words are one up to their ending: violence and violent, fight and fights."""
    common = min(len(one), len(other))
    return one == other or (common > 3 and one[: common - 2] == other[: common - 2])


def _of_number(label: str, labels: Sequence[str], dataset: str, categories: Sequence[str] | None) -> tuple[str, ...]:
    if {label, *labels} <= {"-1", "1"}:
        raise FeatureError(
            f"the labels of {dataset} are -1 and 1", f"say which one is normal: --label -1={NORMAL} --label 1={ANOMALY}"
        )
    numbers = {int(float(other)) if _NUMBER.fullmatch(other) else None for other in labels}
    abnormal = [name for name in categories or (NORMAL, ANOMALY) if name != NORMAL]
    if numbers <= {0, 1} and (len(abnormal) == 1 or float(label) == 0):
        return () if float(label) == 0 else (abnormal[0],)
    raise FeatureError(
        f"the label {label} of {dataset} is a number, which names no category",
        f"say what numbers mean, for example --label 0={NORMAL} --label {label}={(*abnormal, ANOMALY)[0]}",
    )


def find_category(label: str, dataset: str, categories: Sequence[str] | None) -> str | None:
    """The one of ``categories`` that a label means, by its name or an alias of a bundled table; ``None``: none does."""
    by_key = {name_key(name): name for name in categories or ()}
    names = [label]
    try:
        if dataset in bundled_tables():
            names.append(load_table(dataset).category(label).name)
    except KgvadError:
        pass
    return next((by_key[name_key(name)] for name in names if name_key(name) in by_key), None)


def same_category(one: str, other: str) -> bool:
    """Whether two labels are the same words or names of one category of a bundled table, or one is any anomaly."""
    if name_key(one) == name_key(other) or ANOMALY in (one, other):
        return True
    for table in map(load_table, bundled_tables()):
        with suppress(UsageError):
            if table.category(one) == table.category(other):
                return True
    return False


def _of_dataset(label: str, dataset: str, categories: Sequence[str] | None) -> tuple[str, ...]:
    if categories is None:
        return (label,)
    chosen = find_category(label, dataset, categories)
    if chosen is None:
        raise FeatureError(
            f"{label!r} is not a category of {dataset}",
            f"say which one it is with --label {label}=CATEGORY: {', '.join(categories)}",
        )
    return () if chosen == NORMAL else (chosen,)


def counted(labels: Iterable[tuple[str, ...]]) -> str:
    """Categories and the number of their videos: ``Normal 3, Fighting 2``."""
    counts = Counter(name for video in labels for name in video or (NORMAL,))
    names = sorted(counts, key=lambda name: (name != NORMAL, name))
    return ", ".join(f"{name} {counts[name]}" for name in names)
