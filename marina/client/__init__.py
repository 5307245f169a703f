"""Clients of a served model, over REST and over gRPC. They never import torch.

    with Client("http://127.0.0.1:8080") as client:
        best = client.predict("digit.png", model="resnet")[0]

    async with AsyncGrpcClient("127.0.0.1:7070") as client:
        outcomes = await client.predict_many(paths, concurrency=16)

All of them take the same images and options, give the same results and raise the same errors.
"""

from __future__ import annotations

from marina.client.answer import Explanation, ModelStatus, Prediction, Readiness
from marina.client.async_client import AsyncClient, AsyncGrpcClient
from marina.client.client import Client, GrpcClient
from marina.client.image import Image
from marina.client.management import GrpcManagementClient, ManagementClient
from marina.client.operations import Progress
from marina.client.options import Options, Retry, Tls

__all__ = [
    "AsyncClient",
    "AsyncGrpcClient",
    "Client",
    "Explanation",
    "GrpcClient",
    "GrpcManagementClient",
    "Image",
    "ManagementClient",
    "ModelStatus",
    "Options",
    "Prediction",
    "Progress",
    "Readiness",
    "Retry",
    "Tls",
]
