"""Where the store is and how large it may be, by the environment.

`PIPELINE_STORE` names its folder (by default one in the user's cache; `off`: no
store), `PIPELINE_STORE_GB` its limit.  Neither is a param: no result depends on
them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import platformdirs

from pipeline.errors import InputError

FOLDER, LIMIT = "PIPELINE_STORE", "PIPELINE_STORE_GB"
DEFAULT_LIMIT_GB = 25.0  # holds activations of the default budget, and their features


def store_folder() -> Path | None:
    """Where the store is, or None where there is to be none.

    Raises:
        InputError: The environment names nobody's home.
    """
    named = os.environ.get(FOLDER, "")
    if named.strip().lower() == "off":
        return None
    default = platformdirs.user_cache_dir("image-transfer-pipeline", appauthor=False)
    try:
        return Path(named or default).expanduser()
    except RuntimeError as error:
        raise InputError(FOLDER, f"{named!r}: {error}", "name a folder") from error


def in_the_way(folder: Path) -> Path | None:
    """What keeps the store's folder from being one: a file, or a link to nowhere."""
    lowest = lowest_there(folder)
    return lowest if os.path.lexists(lowest) and not lowest.is_dir() else None


def lowest_there(folder: Path) -> Path:
    """The folder, or else the lowest of its parents that is there, as far as one may see."""
    return next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)


def store_limit() -> int:
    """The largest size that the store may have, in bytes.

    Raises:
        InputError: The environment's limit is no size.
    """
    named = os.environ.get(LIMIT, "") or str(DEFAULT_LIMIT_GB)
    try:
        gigabytes = float(named)
    except ValueError:
        gigabytes = math.nan
    if not 0 < gigabytes * 1e9 < math.inf:
        fix = "give a number above 0, or unset it"
        raise InputError(LIMIT, f"{named!r} is no size in GB", fix)
    return int(gigabytes * 1e9)
