"""The entry file of every archive: TorchServe takes the one class that is defined here.

A class that is only imported here would not count (list_classes_from_module in ts/utils/util.py).
"""

from handlers.image_classifier import ImageClassifier
from handlers.log import log_in_lines

log_in_lines()


class MarinaImageClassifier(ImageClassifier):
    """Marina's handler, by the name under which TorchServe finds it."""
