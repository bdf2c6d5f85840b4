"""Where runs keep what they make.

files         the protocol of a folder of files; `files_at` chooses a kind of it
disk_files    a folder on a disk
object_files  a folder in an object store
checksums     what every file is held against when it is read
work_dir      where stages leave their outputs, so that a run can resume
fingerprint   what must be the same for that
spill         what a task hands on, in bounded memory
keep_lists    keep-lists of finished runs
temporary     folders in memory for rows in memory
"""

from __future__ import annotations

from pathlib import Path

from dedupe.remote import Place, is_remote, place
from dedupe.storage.files import Files


def files_at(where: str | Path | Place) -> Files:
    """The files of a folder; SettingsError for a protocol that cannot be used."""
    found = place(where)
    if is_remote(found):
        from dedupe.storage.object_files import ObjectFiles

        return ObjectFiles(found)
    from dedupe.storage.disk_files import DiskFiles

    return DiskFiles(found)


def file_at(path: str) -> tuple[Files, str]:
    """The files of the folder of a file, and the name of the file in it; see `files_at`."""
    folder, _, name = path.rpartition("/")
    return files_at(folder or "/" * path.startswith("/") or "."), name
