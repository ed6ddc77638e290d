"""Extract: run the frozen backbone once over every view and keep its pooled features."""

from __future__ import annotations

from pathlib import Path

from pipeline.arrays import writing_rows
from pipeline.backbones.catalog import BackboneParams
from pipeline.engines import ExtractParams
from pipeline.features import ARRAY, INDEX, MADE_WITH
from pipeline.files import Reads, Writes, replacing, write_json
from pipeline.frozen.network import CutParams, FrozenNetwork, FrozenSpec, Part
from pipeline.frozen.rows import frozen_rows
from pipeline.images.pictures import places_by_digest, read_plan, with_splits
from pipeline.tables import distinct, read_manifest, write_table


def run(
    params: ExtractParams,
    backbone: BackboneParams,
    fine_tune: CutParams,
    *,
    raw: Reads = Path("data/raw"),
    splits: Reads = Path("data/splits.csv"),
    views: Reads = Path("data/views.csv"),
    features: Writes = Path("data/features"),
) -> None:
    """Write the globally average-pooled features of every view in the plan.

    Only what the machine's store lacks is computed.  The same pass gives the
    activations that `fine_tune` trains on; they go into the store.

    Raises:
        InputError: The backbone cannot be built; or see `frozen_rows`.
    """
    images = distinct(read_manifest(splits))
    plan = with_splits(read_plan(views), images)
    places = places_by_digest(raw, images, plan)
    network = FrozenNetwork(FrozenSpec(backbone, params, fine_tune.layers))
    fits = network.size("activations", len(plan)) <= fine_tune.activation_budget_gb * 1e9
    also_keep: list[Part] = ["activations"] if fits else []
    with replacing(features) as partial:
        partial.mkdir()
        shape = (len(plan), network.values("features"))
        with writing_rows(partial / ARRAY, shape, network.dtype) as write:
            frozen_rows(
                network,
                plan,
                places,
                "extract",
                part="features",
                sink=write,
                also_keep=also_keep,
                scratch=features.parent,
            )
        write_table(partial / INDEX, plan[["digest", "view"]])
        write_json(partial / MADE_WITH, network.made_with())
