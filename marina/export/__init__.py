"""From a trained network to a TorchScript file that is proved to answer as it does."""
