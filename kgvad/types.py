"""Types that several packages share."""

from __future__ import annotations

from typing import Any, TypeAlias

from numpy.typing import NDArray

AnyArray: TypeAlias = NDArray[Any]  # the file or the caller decides on the dtype
Fields: TypeAlias = dict[str, Any]  # named values of a file or an object; whoever reads one checks its type
