"""The lab: from images to a trained, evaluated network."""
