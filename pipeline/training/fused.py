"""The layers to train, arranged to make fewer passes over activations and weights.

Results stay the same up to float32 rounding, and layers and variables stay the
model's own.  What no rule below matches is called as it is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pipeline.backbones.cut import tensors_of
from pipeline.engines import Precision

if TYPE_CHECKING:
    import keras


def fused(
    suffix: keras.Model, network: keras.Model, precision: Precision = "float32"
) -> keras.Model:
    """Rebuild `suffix`, part of `network`, to train with BatchNorm in inference mode.

    A BatchNorm that alone follows a convolution becomes part of its kernel; gradients
    still reach kernel, scale and offset.  Not so where only the BatchNorm learns: its
    gradient would cost that of a kernel that does not.  A pointwise convolution becomes a matrix
    product, and a dense layer's product is turned round; TensorFlow then computes gradients faster
    on a CPU.

    Args:
        precision: Of products and sums of convolutions, but for depthwise and
            grouped ones, which only move memory; weights and all else are float32.

    Returns:
        Model with the inputs, outputs and variables of `suffix`.
    """
    import keras  # noqa: PLC0415

    norms = {id(conv): norm for conv, norm in _pairs(suffix, network)}
    folded = {id(norm) for norm in norms.values()}
    arranged = _is_pointwise if precision == "float32" else _is_convolution

    class Fused(keras.Layer):  # type: ignore[misc]
        """A dense layer, or a convolution and, where it has one, its BatchNorm."""

        def __init__(self, layer: keras.Layer, norm: keras.Layer | None) -> None:
            super().__init__(name=f"{layer.name}_fused")
            self.layer, self.norm = layer, norm  # as attributes, so that Keras finds weights
            self.built = True

        def call(self, inputs: Any) -> Any:
            layer, kernel, bias = self.layer, self.layer.kernel, self.layer.bias
            if self.norm is not None:
                kernel, bias = _with_norm(layer, self.norm)
            if _is_dense(layer):
                outputs = _multiply(inputs, kernel)
            else:
                outputs = _convolve(layer, inputs, kernel, precision)
            return layer.activation(outputs if bias is None else outputs + bias)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) in folded:
            return args[0]  # what `Fused` returned
        if id(operation) in norms or arranged(operation) or _is_dense(operation):
            return Fused(operation, norms.get(id(operation)))(*args)
        return operation(*args, **kwargs)

    return keras.models.clone_model(suffix, clone_function=lambda layer: layer, call_function=call)


def _pairs(suffix: keras.Model, network: keras.Model) -> list[tuple[Any, Any]]:
    """Convolutions of `suffix`, each with the BatchNorm to fold, which alone takes its output."""
    from keras import activations, layers  # noqa: PLC0415

    taken = [tensor for op in network.operations for tensor in tensors_of(op.input)]
    uses = Counter(id(tensor) for tensor in [*taken, *network.outputs])
    convs = {
        id(op.output): op
        for op in suffix.operations
        if type(op) in {layers.Conv2D, layers.DepthwiseConv2D}
        and op.activation is activations.linear
        and op.data_format == "channels_last"
        and uses[id(op.output)] == 1
    }
    return [
        (convs[id(op.input)], op)
        for op in suffix.operations
        if type(op) is layers.BatchNormalization
        and op.axis in {-1, 3}
        and id(op.input) in convs
        and (convs[id(op.input)].trainable or not op.trainable)
    ]


def _with_norm(conv: Any, norm: Any) -> tuple[Any, Any]:
    """Kernel (h, w, in, out) or (h, w, channel, multiplier), and bias (out,)."""
    from keras import layers, ops  # noqa: PLC0415

    scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
    scale = scale if norm.gamma is None else scale * norm.gamma
    bias = (0 if conv.bias is None else conv.bias) - norm.moving_mean
    bias = bias * scale if norm.beta is None else bias * scale + norm.beta
    depthwise = isinstance(conv, layers.DepthwiseConv2D)
    return conv.kernel * (ops.reshape(scale, conv.kernel.shape[2:]) if depthwise else scale), bias


def _convolve(conv: Any, inputs: Any, kernel: Any, precision: Precision) -> Any:
    from keras import layers, ops  # noqa: PLC0415

    if precision == "bfloat16" and _is_convolution(conv):
        inputs, kernel = ops.cast(inputs, precision), ops.cast(kernel, precision)
        return ops.cast(_convolve(conv, inputs, kernel, "float32"), "float32")
    if _is_pointwise(conv):
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
        product = ops.matmul(flat, ops.reshape(kernel, kernel.shape[2:]))
        return ops.reshape(product, (-1, *inputs.shape[1:-1], conv.filters))
    plain = ops.depthwise_conv if isinstance(conv, layers.DepthwiseConv2D) else ops.conv
    return plain(inputs, kernel, conv.strides, conv.padding, conv.data_format, conv.dilation_rate)


def _multiply(inputs: Any, kernel: Any) -> Any:
    """(row, in) by (in, out)."""
    import tensorflow as tf  # noqa: PLC0415

    # turned round, so that the gradient to a few dozen inputs is a product of quick shape too
    return tf.transpose(tf.matmul(kernel, tf.transpose(inputs), transpose_a=True))


def _is_dense(operation: Any) -> bool:
    from keras import layers  # noqa: PLC0415

    return type(operation) is layers.Dense and len(operation.input.shape) == 2


def _is_convolution(operation: Any) -> bool:
    from keras import layers  # noqa: PLC0415

    return (
        type(operation) is layers.Conv2D
        and operation.groups == 1
        and operation.data_format == "channels_last"
    )


def _is_pointwise(operation: Any) -> bool:
    return _is_convolution(operation) and operation.kernel_size == (1, 1) == operation.strides
