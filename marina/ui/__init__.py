"""A page to try a served model on: drop an image, see each version's answer.

with PageServer(Client(url, management=management_url), port=8090) as page:
page.serve_forever()
"""

from __future__ import annotations

from marina.ui.server import PageServer

__all__ = ["PageServer"]
