"""Every backbone by name: where Keras keeps it and the input size it was trained at."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pipeline.images.views import ResizeFilter
from pipeline.params import Section


class Network(NamedTuple):
    """`module` is of keras.applications, None where the network is our own; `size` in pixels."""

    module: str | None
    size: int


def _family(module: str, **sizes: int) -> dict[str, Network]:
    return {name: Network(module, size) for name, size in sizes.items()}


CATALOG: dict[str, Network] = {
    "EfficientNetLite0": Network(None, 224),
    **_family("resnet", ResNet50=224, ResNet101=224, ResNet152=224),
    **_family("resnet_v2", ResNet50V2=224, ResNet101V2=224, ResNet152V2=224),
    **_family("vgg16", VGG16=224),
    **_family("vgg19", VGG19=224),
    **_family("mobilenet", MobileNet=224),
    **_family("mobilenet_v2", MobileNetV2=224),
    **_family("mobilenet_v3", MobileNetV3Small=224, MobileNetV3Large=224),
    **_family("efficientnet", EfficientNetB0=224, EfficientNetB1=240, EfficientNetB2=260),
    **_family("efficientnet", EfficientNetB3=300, EfficientNetB4=380, EfficientNetB5=456),
    **_family("efficientnet", EfficientNetB6=528, EfficientNetB7=600),
    **_family("efficientnet_v2", EfficientNetV2B0=224, EfficientNetV2B1=240),
    **_family("efficientnet_v2", EfficientNetV2B2=260, EfficientNetV2B3=300),
    **_family("efficientnet_v2", EfficientNetV2S=384, EfficientNetV2M=480, EfficientNetV2L=480),
    **_family("densenet", DenseNet121=224, DenseNet169=224, DenseNet201=224),
    **_family("inception_v3", InceptionV3=299),
    **_family("inception_resnet_v2", InceptionResNetV2=299),
    **_family("xception", Xception=299),
    **_family("nasnet", NASNetMobile=224, NASNetLarge=331),
    **_family("convnext", ConvNeXtTiny=224, ConvNeXtSmall=224, ConvNeXtBase=224),
    **_family("convnext", ConvNeXtLarge=224, ConvNeXtXLarge=224),
}


class BackboneParams(Section):
    """The pre-trained network and the picture it is given."""

    name: Literal[tuple(CATALOG)]  # type: ignore[valid-type]
    weights: Annotated[str, Field(min_length=1)]  # imagenet | none | path of a .h5 file
    image_size: Annotated[int, Field(ge=32, le=2048)] | None  # pixels; None: the catalog's
    resize: ResizeFilter  # Pillow's filter

    @property
    def size(self) -> int:
        """Side of the square input, in pixels."""
        return self.image_size or CATALOG[self.name].size
