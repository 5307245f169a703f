"""From an exported run to a ``.mar`` in the model store."""
