"""The model file that ships: a plain .keras archive, byte-stable, that says what it is.

`keras.saving.load_model(file, safe_mode=True)` loads it without any code of
ours: RGB pixels (n, size, size, 3) in [0, 255], uint8 or float, in; class
probabilities (n, class) out.  The archive has one member more than Keras
writes: pipeline.json, a `Card`.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from pipeline.errors import InputError, in_words
from pipeline.files import named_when_full, replacing
from pipeline.images.views import ResizeFilter
from pipeline.params import Section
from pipeline.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import keras

CARD = "pipeline.json"
MEMBERS = {CARD, "config.json", "metadata.json", "model.weights.h5"}
ENDING = ".keras"  # Keras demands it
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
MAX_CARD_BYTES = 10_000_000
FIX = "name a model that this pipeline made, or make one with `dvc repro`"


class Card(Section):
    """What a user of the model must know, and what it was made from."""

    classes: Annotated[list[str], Field(min_length=2)]  # in the order of the probabilities
    image_size: Annotated[int, Field(ge=1, le=4096)]  # pixels, a square
    resize: ResizeFilter  # Pillow's filter
    shipped: Literal["head", "fine_tuned"]  # the one that validation kept
    data_digest: str  # SHA-256 of the splits table
    weights_digest: str  # of the backbone before fine-tuning
    params: dict[str, Any]  # the sections it was trained with

    @field_validator("classes")
    @classmethod
    def _are_distinct(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError(f"classes must differ, got {classes}")
        return classes


def save_model(model: keras.Model, card: Card, file: Path) -> None:
    """Save a model with its card; equal weights and cards give equal bytes."""
    with replacing(file) as partial:
        model.save(partial)
        _stabilise(partial, card)


def _stabilise(file: Path, card: Card) -> None:
    """Rewrite an archive without dates and memory addresses, and with the card."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved")
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    config = _renumbered(json.loads(members["config.json"]), {})
    members["config.json"] = json.dumps(config).encode()
    text = json.dumps(card.model_dump(), indent=2, sort_keys=True, ensure_ascii=False)
    members[CARD] = text.encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH_OF_ZIP), content)


def _renumbered(config: Any, numbers: dict[int, int]) -> Any:
    """Number shared objects in order of appearance; Keras writes their addresses."""
    if isinstance(config, list):
        return [_renumbered(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers))
        if key == "shared_object_id"
        else _renumbered(value, numbers)
        for key, value in config.items()
    }


def read_card(file: Path) -> Card:
    """Read what a model file says of itself, without loading the model.

    Raises:
        InputError: The file is absent, is not a .keras archive or was not made
            by this pipeline.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(CARD) as member:
            return Card.model_validate_json(member.read(MAX_CARD_BYTES))
    except FileNotFoundError:
        raise InputError(file, "does not exist", FIX) from None
    except KeyError:
        raise InputError(file, f"holds no {CARD}: it is not of this pipeline", FIX) from None
    except Exception as error:  # a hostile archive can fail in any way
        reason = f"is not a model of this pipeline: {in_words(error)}"
        raise InputError(file, reason, FIX) from error


def load_model(file: Path) -> tuple[keras.Model, Card]:
    """Load a shipped model without running any code that it may bring.

    Raises:
        InputError: See `read_card`; or the model asks for code, or holds weights
            that are no numbers, or more than `save_model` puts into an archive.
        OSError: The temporary folder is full, for one.
    """
    if file.suffix != ENDING:  # by which Keras chooses how to read it
        raise InputError(file, f"does not end in {ENDING}", FIX)
    card = read_card(file)
    _check_members(file)

    start_tensorflow()
    import keras  # noqa: PLC0415

    folder = Path(tempfile.gettempdir())
    try:
        with named_when_full(folder):
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        shapes = model.input_shape, model.output_shape
    except Exception as error:
        if isinstance(error, OSError) and error.filename not in {None, str(file)}:
            raise  # of the temporary folder, into which Keras unpacks
        reason = f"cannot be loaded safely: {in_words(error)}"
        raise InputError(file, reason, FIX) from error
    if shapes != ((None, card.image_size, card.image_size, 3), (None, len(card.classes))):
        reason = f"maps {shapes[0]} to {shapes[1]}, which its card contradicts"
        raise InputError(file, reason, FIX)
    for weight in model.weights:
        if not np.isfinite(weight.numpy()).all():
            raise InputError(file, f"holds numbers that are not finite, in {weight.path}", FIX)
    return model, card


def _check_members(file: Path) -> None:
    """Refuse other members, and those that could unpack to more than they take."""
    with zipfile.ZipFile(file) as archive:
        found = archive.infolist()
    names = [member.filename for member in found]
    if sorted(names) != sorted(MEMBERS):
        reason = f"is not of this pipeline: it holds {', '.join(names)}"
        raise InputError(file, reason, FIX)
    for member in found:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > member.compress_size:
            raise InputError(file, f"is not of this pipeline: {member.filename} is packed", FIX)
