"""Links of the project in its metadata: to the repository whose workflow builds the package.

GitHub names that repository in the environment of each workflow, so a release, and that of a fork,
links to where it was made. A package that is built elsewhere has no links.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def links(environment: Mapping[str, str]) -> dict[str, str]:
    """The links by their names, those that PyPI knows.

    environment: variables of the process that builds the package.
    """
    server, repository = map(environment.get, ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"))
    if not server or not repository:
        return {}
    home = f"{server}/{repository}"
    return {
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
        "Documentation": f"{home}/blob/main/docs/README.md",
        "Issues": f"{home}/issues",
        "Source": home,
    }


class LinksHook(MetadataHookInterface):
    """Hands the links to hatchling."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Write them. metadata: that of the package."""
        metadata["urls"] = links(os.environ)
