"""Random changes to pictures that leave their meaning alone: made anew every time a picture is seen, for a whole batch at once.

Every number drawn belongs to a row (see `Draws`), and every pixel is computed from its own row, and from the rows mixed into it, so a row
looks the same in any micro-batch and after a resumed run, bit for bit. Pictures are (B, C, H, W) with values in [0, 1]; what comes in from
outside the frame is 0.
"""

from ftheta.core.catalog import Catalogue

AUGMENTATIONS = Catalogue(
    "augmentation",
    {
        "affine": "ftheta.data.augment.moving:Affine",
        "colour": "ftheta.data.augment.colour:Colour",
        "cutmix": "ftheta.data.augment.mixing:CutMix",
        "elastic": "ftheta.data.augment.bending:Elastic",
        "erase": "ftheta.data.augment.colour:Erase",
        "flip": "ftheta.data.augment.moving:Flip",
        "mixup": "ftheta.data.augment.mixing:MixUp",
        "mosaic": "ftheta.data.augment.mixing:Mosaic",
        "rand": "ftheta.data.augment.rand:RandAugment",
        "resized_crop": "ftheta.data.augment.moving:ResizedCrop",
        "shift": "ftheta.data.augment.moving:Shift",
    },
)
