"""A checkpoint gives tensors or is refused; nothing in it is ever called."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from pipeline.backbones import lite0
from pipeline.backbones.checkpoint import MAGIC_NUMBER, PROTOCOL, read_checkpoint
from pipeline.errors import InputError

SYSTEM = {"little_endian": True, "protocol_version": PROTOCOL, "type_sizes": {}}


def global_(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tensor(key: str, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """The opcodes that PyTorch writes for a float tensor."""
    body = pickle.dumps((offset, shape, stride), protocol=2)[2:-1]  # without PROTO and STOP
    storage = b"(X\x07\0\0\0storage" + global_("torch", "FloatStorage")
    storage += pickle.dumps(key, protocol=2)[2:-1] + b"X\x03\0\0\0cpuK\x00NtQ"
    return global_("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + unpack(body) + b"tR"


def unpack(opcodes: bytes) -> bytes:
    """The three members of a pickled 3-tuple, without the tuple."""
    offset, shape, stride = pickle.loads(b"\x80\x02" + opcodes + b".")
    return b"".join(pickle.dumps(part, protocol=2)[2:-1] for part in (offset, shape, stride))


def checkpoint(
    state: bytes, storages: dict[str, np.ndarray], *, magic: int = MAGIC_NUMBER
) -> bytes:
    stream = io.BytesIO()
    for part in (magic, PROTOCOL, SYSTEM):
        pickle.dump(part, stream, protocol=2)
    stream.write(b"\x80\x02" + state + b".")
    pickle.dump(list(storages), stream, protocol=2)
    for values in storages.values():
        stream.write(len(values).to_bytes(8, "little") + values.tobytes())
    return stream.getvalue()


def entry(opcodes: bytes, name: bytes = b"w") -> bytes:
    """An OrderedDict with one item."""
    begin = global_("collections", "OrderedDict") + b")R"
    return begin + b"X" + len(name).to_bytes(4, "little") + name + opcodes + b"s"


VALUES = np.arange(6, dtype=np.float32)


def refuse(tmp_path, content: bytes, match: str) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert "x.pth" in str(caught.value)


def test_a_tensor_is_read_by_its_shape_stride_and_offset(tmp_path):
    (tmp_path / "x.pth").write_bytes(
        checkpoint(entry(tensor("0", (2, 2), (1, 2), 1)), {"0": VALUES})
    )

    np.testing.assert_array_equal(read_checkpoint(tmp_path / "x.pth")["w"], [[1, 3], [2, 4]])


def test_a_function_is_refused_by_name_and_not_called(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    for part in (Attack(), OrderedDict(w=Attack())):
        body = pickle.dumps(part, protocol=2)[2:-1]
        refuse(tmp_path, checkpoint(body, {}), r"refused: asks for posix.mkdir")
    refuse(tmp_path, pickle.dumps(Attack(), protocol=2), r"refused: asks for posix.mkdir")

    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch", "storage.x"),
        ("torch._utils", "_rebuild_parameter"),
        ("collections", "namedtuple"),
        ("os", "system"),
    ],
)
def test_everything_but_tensors_is_refused_by_name(tmp_path, module, name):
    refuse(tmp_path, checkpoint(entry(global_(module, name)), {}), rf"refused: asks for {module}")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (checkpoint(entry(b"K\x07"), {}), r"refused: entry 'w' is not a plain tensor"),
        (checkpoint(entry(tensor("0", (7,), (1,))), {"0": VALUES}), "lies outside its storage"),
        (checkpoint(entry(tensor("0", (2,), (-1,))), {"0": VALUES}), "lies outside its storage"),
        (checkpoint(entry(tensor("0", (10**9,), (0,))), {"0": VALUES}), "outside its storage"),
        (checkpoint(entry(tensor("0", (2,), (1,), -3)), {"0": VALUES}), "outside its storage"),
        (checkpoint(entry(tensor("0", (6,), (1,))), {"0": VALUES})[:-3], "the file is truncated"),
        (checkpoint(entry(tensor("1", (6,), (1,))), {"0": VALUES}), "not a PyTorch checkpoint"),
        (checkpoint(b"}", {}, magic=3), "wrong magic number"),
        (b"", "not a PyTorch checkpoint"),
        (b"PK\x03\x04 a zip", "not a PyTorch checkpoint|refused"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, content, match):
    refuse(tmp_path, content, match)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.pth: does not exist\n  fix: reinstall"):
        read_checkpoint(tmp_path / "gone.pth")


def test_the_installed_checkpoint_holds_the_classifier():
    tensors = read_checkpoint(lite0.checkpoint_file())

    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_fc.bias"].shape == (1000,)
