"""What mkdocs does besides: pages that lie outside docs/ are part of the site, too.

In the repository they stand where a reader looks for them, and links lead there. In the site each
has a place of its own, and the links of all pages follow.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "cluster/README.md": "how-to/ray-cluster.md",
    "dedupe/demo/README.md": "demo.md",
}
"""Pages outside docs/, by their path in the repository, and their path in the site."""

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page from files of the repository to pages of the site.

    A link to a file that is not in the site stays as it is, and a strict build fails.
    """
    place = page.file.src_uri
    of_place = {place: path for path, place in OUTSIDE.items()}
    path = of_place.get(place, f"docs/{place}")

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        if target not in OUTSIDE and not target.startswith("docs/"):
            return link[1]
        found = OUTSIDE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(found, posixpath.dirname(place) or ".")

    return LINK.sub(led, markdown)
