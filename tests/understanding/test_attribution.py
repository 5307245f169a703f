from __future__ import annotations

import torch
from networks import Corner

from marina.understanding.attribution import grad_cam, integrated_gradients

IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1


def test_grad_cam_finds_the_corner_that_speaks_for_the_class() -> None:
    first, second = (grad_cam(Corner().eval(), IMAGE, target, "conv") for target in (0, 1))
    for heat in (first, second):
        assert heat.shape == (8, 8)
        assert float(heat.min()) > 0
    # The gradient of a quarter's mean is 1/16 on it; Grad-CAM averages it over the whole map.
    torch.testing.assert_close(first, IMAGE[0, 0] / 64)


def test_integrated_gradients_sum_to_what_the_image_adds() -> None:
    network = Corner().eval()
    for target, quarter in ((0, slice(0, 4)), (1, slice(4, 8))):
        heat = integrated_gradients(network, IMAGE, target)
        logits, blank = network(IMAGE)[0], network(torch.zeros_like(IMAGE))[0]
        torch.testing.assert_close(heat.sum(), (logits - blank)[target].detach())
        elsewhere = heat.clone()
        elsewhere[quarter, quarter] = 0
        assert float(elsewhere.abs().max()) == 0
