"""Marina: from a folder of images to a verified TorchServe endpoint."""

__version__ = "0.1.0"
