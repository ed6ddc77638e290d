"""Extract: run the frozen backbone once over every view and keep its pooled features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones.catalog import BackboneParams
from pipeline.console import progress
from pipeline.engines import ExtractParams, run_frozen
from pipeline.features import ARRAY, INDEX, MADE_WITH
from pipeline.files import Reads, Writes, replacing, write_json
from pipeline.images.pictures import VIEW_TYPES, jobs, pictures
from pipeline.tables import distinct, read_manifest, read_table, write_table


def run(
    params: ExtractParams,
    backbone: BackboneParams,
    *,
    raw: Reads = Path("data/raw"),
    splits: Reads = Path("data/splits.csv"),
    views: Reads = Path("data/views.csv"),
    features: Writes = Path("data/features"),
) -> None:
    """Write the globally average-pooled features of every view in the plan.

    Raises:
        InputError: The backbone cannot be built, or an image has gone or
            changed since `ingest`.
    """
    plan = read_table(views, ("digest", "view", *VIEW_TYPES), VIEW_TYPES)
    wanted = jobs(raw, distinct(read_manifest(splits)), plan)

    from pipeline.backbones.load import load_backbone  # noqa: PLC0415

    loaded = load_backbone(backbone)
    pooled = loaded.pooled()
    model = loaded.from_pixels([pooled])
    made_with: dict[str, Any] = {
        "backbone": backbone.name,
        "weights_digest": loaded.weights_digest(),
        "image_size": backbone.size,
        "resize": backbone.resize,
        "engine": params.engine,
    }
    with replacing(features) as partial, progress("extract", len(plan), "view") as bar:
        partial.mkdir()
        shape = (len(plan), int(pooled.shape[-1]))
        array = np.lib.format.open_memmap(partial / ARRAY, "w+", np.float32, shape)
        shown = pictures(wanted, backbone.size, backbone.resize)
        run_frozen(model, params.engine, shown, [array], bar)
        array.flush()
        write_table(partial / INDEX, plan[["digest", "view"]])
        write_json(partial / MADE_WITH, made_with)
