"""The frozen network: pixels in; pooled features and, at the cut, activations out.

One pass computes both, so fine-tuning finds what it needs when the features are
made.  `FrozenSpec` is plain data, so that another machine can build the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from pipeline.backbones.catalog import BackboneParams
from pipeline.backbones.cut import best_cut, crossing, first_unfrozen, values_per_image
from pipeline.backbones.load import Backbone, load_backbone
from pipeline.engines import (
    ExtractParams,
    Outputs,
    Precision,
    Run,
    compile_frozen,
    engine_version,
)
from pipeline.errors import InputError, ParamsError, in_words
from pipeline.images.decode import Pixels
from pipeline.images.pictures import Job, pictures
from pipeline.params import Section

if TYPE_CHECKING:
    import keras

Part = Literal["features", "activations"]

MEANING = 5  # of a stored row; raise it when other code makes other rows from the same key


class CutParams(Section):
    """The part of section `fine_tune` that decides where frozen layers end."""

    model_config = ConfigDict(extra="ignore")

    # how many of the backbone's last layers to train, or how the first one's name begins
    layers: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)]
    activation_budget_gb: Annotated[float, Field(ge=0)]  # of disk, for what crosses the cut


@dataclass(frozen=True)
class FrozenSpec:
    """All that decides what is computed of a picture."""

    backbone: BackboneParams
    extract: ExtractParams
    layers: int | str  # fine_tune.layers

    def pictures(self, wanted: Iterable[Job], *, threads: int | None = None) -> Iterator[Pixels]:
        """Every view of every job, as the network takes it: (size, size, 3) uint8."""
        return pictures(wanted, self.backbone.size, self.backbone.resize, threads=threads)


class FrozenNetwork:
    """A backbone with its cut.

    Attributes:
        backbone: With its weights.
        first: Index of the first operation that fine-tuning trains.
        cut: The tensors that cross the cut, in the network's order.
        pooled: The feature map averaged over its pixels.

    Raises:
        InputError: The backbone cannot be built or has no such layers.
    """

    def __init__(self, spec: FrozenSpec) -> None:
        self.spec = spec
        self.backbone: Backbone = load_backbone(spec.backbone)
        network = self.backbone.network
        self.first = first_unfrozen(network, spec.layers)
        self._cut_before = best_cut(network, self.first)
        self.cut = crossing(network, self._cut_before)
        self.pooled = self.backbone.pooled()

    @property
    def activation_shapes(self) -> list[tuple[int, ...]]:
        """For each tensor of the cut the shape of one picture's."""
        return [tuple(tensor.shape[1:]) for tensor in self.cut]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """What rows are rounded to, wherever they come from."""
        return np.dtype(self.spec.extract.storage).newbyteorder("<")

    def values(self, part: Part) -> int:
        """How many numbers a row of a part holds."""
        return values_per_image([self.pooled] if part == "features" else self.cut)

    @property
    def portable(self) -> FrozenSpec:
        """The spec with its layers by number, for another process to build the same.

        Keras numbers the names that it gives over all that a process has built.
        """
        layers = self.backbone.network.layers
        first = layers.index(self.backbone.network.operations[self.first])
        return replace(self.spec, layers=len(layers) - first)

    def model(self) -> keras.Model:
        """What an engine runs: from pixels to the pooled features, then the cut's tensors."""
        return self.backbone.from_pixels([self.pooled, *self.cut])

    def at(self, precision: Precision) -> FrozenNetwork:
        """This network, computed otherwise; weights are shared."""
        other = copy(self)
        extract = self.spec.extract.model_copy(update={"precision": precision})
        other.spec = replace(self.spec, extract=extract)
        return other

    def shares(self, plan: pd.DataFrame) -> Iterator[tuple[FrozenNetwork, NDArray[np.int64]]]:
        """Which network computes which views of a plan.

        A model is judged by what it is when it ships: in float32, whatever it learns from.

        Args:
            plan: With a column split.

        Yields:
            A network and the numbers of its views; together they are all.
        """
        own = (plan["split"] == "train").to_numpy() | (self.spec.extract.precision == "float32")
        if own.any():
            yield self, np.flatnonzero(own)
        if not own.all():
            yield self.at("float32"), np.flatnonzero(~own)

    def compile(self, *, threads: int | None = None) -> Run:
        """Ready the engine; each row is the pooled features, then the cut's tensors.

        Raises:
            InputError: The engine cannot run this backbone.
            OSError: The temporary folder is full, for one.
        """
        engine, precision = self.spec.extract.engine, self.spec.extract.precision
        try:
            return compile_frozen(self.model(), engine, precision=precision, threads=threads)
        except (OSError, InputError):
            raise
        except Exception as error:  # each engine has errors of its own
            name = self.spec.backbone.name
            reason = f"{name} cannot be run by {engine}: {in_words(error)}"
            raise ParamsError(reason, "give extract.engine the other one") from error

    def size(self, part: Part, views: int) -> int:
        """What a part of so many views takes on the disk, in bytes."""
        return views * self.values(part) * self.dtype.itemsize

    def take(self, part: Part, outputs: Outputs) -> NDArray[np.generic]:
        """One part of a row, flat, in the storage's dtype.

        Raises:
            InputError: A value is not finite, or the storage cannot hold it.
        """
        chosen = outputs[:1] if part == "features" else outputs[1:]
        flat = np.concatenate([output.ravel() for output in chosen])
        with np.errstate(over="ignore"):
            stored = flat.astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            if not np.isfinite(flat).all():
                reason = f"{self.spec.backbone.name} gives {part} that are not finite"
                raise ParamsError(reason, "give backbone.weights other weights")
            largest = np.abs(flat).max()
            reason = f"extract.storage {self.dtype.name} cannot hold {part} of {largest:g}"
            raise ParamsError(reason, "set extract.storage to float32")
        return stored

    def made_with(self) -> dict[str, Any]:
        """What a row depends on besides its picture and the cut, for people to read."""
        params = self.spec.backbone
        return {
            "backbone": params.name,
            "weights_digest": self.backbone.weights_digest,
            "image_size": params.size,
            "resize": params.resize,
            "engine": self.spec.extract.engine,
            "engine_version": engine_version(self.spec.extract.engine),
            "precision": self.spec.extract.precision,
            "keras_version": version("keras"),
            "pillow_version": version("pillow"),
            "storage": self.spec.extract.storage,
        }

    def kind(self, part: Part) -> str:
        """What the store's listing calls such rows."""
        params, extract = self.spec.backbone, self.spec.extract
        how = f"{extract.engine} in {extract.precision}, {extract.storage}"
        return f"{params.name} {params.size} px {part} ({how})"

    def digest(self) -> bytes:
        """32 bytes for what a row depends on besides its picture.

        The cut is in it though it does not touch the features' meaning: an
        engine may fuse, and so round, otherwise around another cut.
        """
        decisive = {**self.made_with(), "cut": self._cut_before, "meaning": MEANING}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).digest()
