"""What runs inside the TorchServe worker; packed into every .mar."""
