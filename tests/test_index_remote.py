"""An index in a store: as on a disk, and of two writers neither loses the other's rows."""

from __future__ import annotations

import random

import crawling
import pytest

import dedupe.indexing
from dedupe import Settings, deduplicate
from dedupe.commands.index.check import check_index
from dedupe.index.manifest import Manifest, commit, numbers_in, read_manifest
from dedupe.index.store import Store
from dedupe.indexing import begin_index
from dedupe.progress import Silent
from dedupe.storage import files_at

pytestmark = pytest.mark.stores

pytest.importorskip("fsspec")
pytest.importorskip("upath")

INDEX = "s3://bucket/index"
SETTINGS = Settings(text="text", id="id", threshold=0.6)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Three crawls, and an index on a disk to which they were added."""
    folder = tmp_path_factory.mktemp("index")
    random_ = random.Random(8)
    crawls = crawling.cut(random_, crawling.some_rows(random_, 90), 3)
    paths = crawling.written(folder / "corpus", [[crawl] for crawl in crawls])
    crawling.added(folder / "index", folder, paths, SETTINGS)
    return folder, paths


def added(paths, number, output, **how):
    return deduplicate(paths[number], output, index=INDEX, add=True, name=f"c{number}", **how)


def keep_lists(folder):
    return [path.read_bytes() for path in sorted((folder / "keep").iterdir())]


def as_on_the_disk(folder):
    store = Store.open(files_at_index())
    on_disk = crawling.opened(folder / "index")
    assert crawling.known(store) == crawling.known(on_disk)
    assert crawling.places(store) == crawling.places(on_disk)
    assert check_index(store, Silent()).problems == []


def files_at_index():
    return files_at(dedupe.indexing.index_place(INDEX))


def test_crawls_are_added_to_an_index_in_a_store(store, here, tmp_path):
    folder, paths = here
    begin_index(INDEX, SETTINGS)
    for number in range(3):
        added(paths, number, tmp_path / str(number))
        assert keep_lists(tmp_path / str(number)) == keep_lists(folder / f"out-{number}")
    as_on_the_disk(folder)
    assert numbers_in(files_at_index()) == [0, 1, 2, 3]
    again = added(paths, 2, tmp_path / "2")
    assert again.rows == crawling.opened(folder / "index").manifest.crawls[2].rows
    assert numbers_in(files_at_index()) == [0, 1, 2, 3]


def test_the_second_of_two_writers_in_a_store_decides_again(store, here, tmp_path, monkeypatch):
    folder, paths = here
    begin_index(INDEX, SETTINGS)
    added(paths, 0, tmp_path / "0")
    committed, began = dedupe.indexing.commit, []

    def late(files, manifest):
        """Another run is added before the first one is."""
        if not began:
            began.append(manifest.number)
            added(paths, 1, tmp_path / "1")
        return committed(files, manifest)

    monkeypatch.setattr(dedupe.indexing, "commit", late)
    added(paths, 2, tmp_path / "2")
    assert began == [2]
    for number in range(3):
        assert keep_lists(tmp_path / str(number)) == keep_lists(folder / f"out-{number}")
    as_on_the_disk(folder)


def test_of_two_manifests_of_one_number_a_store_takes_the_first(store):
    files = files_at_index()
    first, other = Manifest(0, {}), Manifest(0, {"text": "other"})
    assert commit(files, first)
    assert not commit(files, other)
    assert read_manifest(files) == first
    assert commit(files, first)  # its answer was lost, and it is asked again
