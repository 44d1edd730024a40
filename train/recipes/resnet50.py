"""`resnet50`: the recipe of the student project that this project grew out of, with corrected preprocessing.

In the student project, images scaled to [0, 1] went through ResNet50's own
preprocessing, which is made for 0-255: after subtracting means of about 104-124
the network saw a nearly constant image. Here a layer converts [0, 1] to the
range and channel order that ResNet50 was trained on.
"""

import numpy as np

from train.backend import keras
from train.recipes.recipe import P_REAL, Recipe, WeightsError

# Mean of ImageNet in B, G, R, on 0-255: keras.applications.imagenet_utils, mode "caffe".
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
LAST_FROZEN = "conv5_block2_out"  # ten layers follow: the third block of the fifth stage


def build(weights: str = "imagenet") -> keras.Model:
    """ResNet50 at 128x128 pixels, with all but its last ten layers frozen.

    Args:
        weights: "imagenet" (Keras downloads them), a file of ImageNet weights without the top, or "none", which freezes
            no layer.

    Raises:
        WeightsError: the weights cannot be downloaded or read, or are not those of ResNet50 without its top.
    """
    try:
        backbone = keras.applications.ResNet50(
            include_top=False, weights=None if weights == "none" else weights, input_shape=(128, 128, 3)
        )
    except Exception as error:  # Keras raises no narrower class if a download fails
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"--weights {weights}: {reason}") from error
    cut = backbone.get_layer(LAST_FROZEN).output
    lower = keras.Model(backbone.input, cut, name="resnet50_lower")
    lower.trainable = weights == "none"
    upper = keras.Model(cut, backbone.output, name="resnet50_upper")

    inputs = keras.Input((128, 128, 3), name="rgb")
    # A fixed 1x1 convolution, because it quantises and converts to one operation, unlike a slice and a subtraction.
    to_imagenet = keras.layers.Conv2D(3, 1, trainable=False, name="rgb_to_imagenet_bgr")
    x = to_imagenet(inputs)
    to_imagenet.set_weights([255.0 * np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array(IMAGENET_MEAN_BGR)])
    x = upper(lower(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(256, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name=P_REAL)(x)
    return keras.Model(inputs, outputs, name="resnet50")


RECIPE = Recipe(
    name="resnet50",
    build=build,
    weights="imagenet",
    size=(128, 128),
    epochs=5,
    batch_size=32,
    learning_rate=1e-5,
    warmup_epochs=None,
    weight_decay=0.0,
    crop_padding=0,
    frozen="resnet50_lower",
)
