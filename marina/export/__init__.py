"""From a trained network to files that are proved to answer as it does."""
