"""The colour of the light changed along the principal components of RGB (Krizhevsky et al. 2012, NeurIPS 25).

To every pixel is added the sum of the eigenvectors of the RGB covariance, each times its eigenvalue
and a draw from N(0, std).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor

from cvflow.config import Image
from cvflow.errors import Fault, RequestError
from cvflow.loading.transforms.apply import NonNegative, on_images
from cvflow.registry import register
from cvflow.types import Sample

IMAGENET_VALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Of ImageNet, pixels in 0..1, as published with fb.resnet.torch; the vectors are the columns."""

Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]


def covariance(matrix: Matrix | None) -> Matrix | None:
    """Checks that it can be one."""
    if matrix is None:
        return None
    values = torch.tensor(matrix, dtype=torch.float64)
    if not torch.equal(values, values.T) or torch.linalg.eigvalsh(values).min() < -1e-9:
        raise ValueError("a symmetric matrix without negative eigenvalues")
    return matrix


@register("transform", "colour_pca")
class ColourPCA:
    """std: of the draws. covariance: 3x3, of the RGB values of your images in 0..1; ImageNet's by default."""

    def __init__(
        self,
        image: Image,
        *,
        std: NonNegative = 0.1,
        covariance: Annotated[Matrix | None, AfterValidator(covariance)] = None,
    ) -> None:
        if image.channels != 3:
            fix = "Leave colour_pca out, or type image.channels=3."
            raise RequestError(Fault("train.augment", "colour_pca on grey images", "RGB", fix))
        self.std = std
        values, vectors = torch.tensor(IMAGENET_VALUES), torch.tensor(IMAGENET_VECTORS)
        if covariance is not None:
            values, vectors = (
                t.float() for t in torch.linalg.eigh(torch.tensor(covariance, dtype=torch.float64))
            )
        self.scaled = vectors * values

    def __call__(self, sample: Sample) -> Sample:
        shift_C11 = (255 * self.scaled @ (torch.randn(3) * self.std)).view(3, 1, 1)

        def lit(image: Tensor) -> Tensor:
            return (image + shift_C11).round_().clamp_(0, 255).to(torch.uint8)

        return on_images(sample, lit)
