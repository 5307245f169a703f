"""A page to try a served model on: drop an image, see each version's answer.

client, manager = Client(url, management=management_url), ManagementClient(management_url)
with PageServer(client, 8090, manager) as page:
    page.serve_forever()
"""

from __future__ import annotations

from marina.ui.server import PageServer

__all__ = ["PageServer"]
