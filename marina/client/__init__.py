"""Clients of a served model, over REST and over gRPC. They never import torch.

    with Client("http://127.0.0.1:8080") as client:
        best = client.predict("digit.png", model="resnet")[0]

Both clients take the same images, give the same predictions and raise the same errors.
"""

from __future__ import annotations

from marina.client.answer import Prediction
from marina.client.grpc import GrpcClient
from marina.client.image import Image
from marina.client.rest import Client

__all__ = ["Client", "GrpcClient", "Image", "Prediction"]
