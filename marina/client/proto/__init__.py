"""TorchServe's gRPC services, as ``scripts/generate_stubs.py`` generates them. Nothing by hand."""
