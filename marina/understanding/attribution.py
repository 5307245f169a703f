"""What in an image speaks for a class, by captum: Grad-CAM and Integrated Gradients.

The server's own explanation, by occlusion, is in ``handlers/explain.py``; it needs no gradients.
"""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam
from torch import nn

from marina.understanding.layers import find

_STEPS = 64
_STEPS_AT_ONCE = 16


def grad_cam(network: nn.Module, image: torch.Tensor, target: int, layer: str) -> torch.Tensor:
    """Weigh a layer's feature maps by their gradients (Selvaraju et al. 2017).

    Args:
        network: In evaluation mode.
        image: Normalized, shape (1, C, crop, crop).
        target: The class.
        layer: Path of a layer that gives (1, channels, h, w).

    Returns:
        Shape (crop, crop), float32: positive where the image speaks for the class.
    """
    maps = LayerGradCam(network, find(network, layer)).attribute(image, target=target)
    size = (image.shape[-2], image.shape[-1])
    heat: torch.Tensor = LayerAttribution.interpolate(maps, size, interpolate_mode="bilinear")
    return heat[0, 0].detach()  # (crop, crop)


def integrated_gradients(network: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    """Integrate the gradients from the mean colour to the image (Sundararajan et al. 2017).

    Args:
        network: In evaluation mode.
        image: Normalized, shape (1, C, crop, crop).
        target: The class.

    Returns:
        Shape (crop, crop), float32, summed over the channels. All of it sums to the logit's
        difference between the image and a blank one.
    """
    parts: torch.Tensor = IntegratedGradients(network).attribute(
        image,
        baselines=torch.zeros_like(image),  # the mean colour, as normalization leaves it
        target=target,
        n_steps=_STEPS,
        internal_batch_size=_STEPS_AT_ONCE,
    )
    return parts[0].sum(dim=0).detach().float()  # (crop, crop)
