"""What is compared in a corpus whose files are of several formats: each file by its own.

The fields of all formats are brought together by their names: every row has all of them, and those
that its own format lacks are empty. So two rows are duplicates only where both have the same
fields, and a field that one has and the other has not keeps them apart. What must be equal is
brought together by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dedupe.documents.template import SEPARATOR, ColumnPath, DocumentTemplate, Template
from dedupe.errors import SettingsError, listed

NOTHING = Template(())
"""The template of a field that a format has not."""


@dataclass(frozen=True)
class Documents:
    """What is compared of the rows of a corpus.

    own: the document of each format that its files are of, that of the first file first. of_files:
    for each file of the corpus, in order, which of these it is.
    """

    own: tuple[DocumentTemplate, ...]
    of_files: tuple[int, ...]

    @classmethod
    def of(cls, first: DocumentTemplate, found: Iterable[DocumentTemplate]) -> Documents:
        """Bring the documents of files together.

        first: of the first file, which comes first even where no file is of it. found: of each file
        of the corpus, in order. Files of one format that are compared alike have one document.
        """
        numbers: dict[tuple[Any, ...], int] = {}
        own: list[DocumentTemplate] = []
        of_files = []
        for document in (first, *found):
            if document.compared not in numbers:
                numbers[document.compared] = len(own)
                own.append(document)
            of_files.append(numbers[document.compared])
        return cls(tuple(own), tuple(of_files[1:]))

    @cached_property
    def whole(self) -> DocumentTemplate:
        """What all of them have: every field, and every column; of one document that is itself."""
        if len(self.own) == 1:
            return self.own[0]
        fields: dict[str, Template] = {}
        for document in self.own:
            for name, template in document.fields.items():
                paths = (*fields.get(name, NOTHING).paths, *template.paths)
                fields[name] = Template(tuple(dict.fromkeys(paths)))
        equal = _equal(self._slots, self._slots) if self._slots else None
        compared = {name for document in self.own for name in document.columns}
        others = dict.fromkeys(name for document in self.own for name in document.others)
        return DocumentTemplate(
            fields,
            equal,
            guessed=any(document.guessed for document in self.own),
            others=tuple(name for name in others if name not in compared),
        )

    @cached_property
    def aligned(self) -> tuple[DocumentTemplate, ...]:
        """Each of `own` with the fields of all of them, in the same order; see `whole`."""
        if len(self.own) == 1:
            return self.own
        names, slots = self.whole.names, self._slots
        return tuple(
            replace(
                document,
                fields={name: document.fields.get(name, NOTHING) for name in names},
                equal=_equal(slots, _slots_of(document)) if slots else None,
            )
            for document in self.own
        )

    @cached_property
    def _slots(self) -> dict[ColumnPath, ColumnPath]:
        """What must be equal in any of them; see `_slots_of`."""
        return {slot: path for one in self.own for slot, path in _slots_of(one).items()}

    def of_file(self, number: int) -> DocumentTemplate:
        """The document of a file, with the fields of its own format alone."""
        return self.own[self.of_files[number]]

    def aligned_for(self, number: int) -> DocumentTemplate:
        """The document of a file, with the fields of all formats."""
        return self.aligned[self.of_files[number]]

    def for_reference(self, document: DocumentTemplate, *, by_order: bool) -> DocumentTemplate:
        """The document of a reference that is compared with these, by their fields.

        document: what is compared of the rows of the reference. by_order: whether its fields are
        those of the corpus in their order, whatever they are called.

        Raises SettingsError where its rows can be duplicates of none: they have none of the fields,
        or lack what must be equal.
        """
        count = len(document.names)
        if by_order and len(self.own) == 1 and count == len(self.own[0].names):
            fields = zip(self.own[0].names, document.fields.values(), strict=True)
            document = replace(document, fields=dict(fields))
        alike = [one for one in self.own if set(one.names).intersection(document.names)]
        if not alike:
            raise SettingsError(
                f"compares {document}, and the corpus {self.own[0]}: rows of other fields are "
                "never duplicates; say what to compare of references with --against-text or "
                "--against-format, or compare both as one text with --match whole"
            )
        lacking = [_slots_of(one).keys() - _slots_of(document) for one in alike]
        if all(lacking):
            names = listed(sorted({path.column for path in min(lacking, key=len)}))
            raise SettingsError(
                f"has no {names}, which must be equal in rows of the corpus: no row of it can be a "
                "duplicate of one that has some"
            )
        return replace(document, others=())

    def as_json(self) -> list[Any]:
        """Plain values of the documents; `of_files` stands with the files. See `from_json`."""
        return [document.as_json() for document in self.own]

    @classmethod
    def from_json(cls, own: Iterable[dict[str, Any]], of_files: Iterable[int]) -> Documents:
        """Read what `as_json` gave; of_files: see `Documents`."""
        return cls(tuple(map(DocumentTemplate.from_json, own)), tuple(of_files))

    def told(self, paths: Sequence[str | None], unread: Sequence[Sequence[str]]) -> Iterator[str]:
        """What people are told of several formats: how many files have each, and one of them.

        paths: of the files of the corpus, None for one that has no rows to compare. unread: for
        each document the columns that are not compared.
        """
        for number, document in enumerate(self.own):
            pairs = zip(paths, self.of_files, strict=True)
            files = [path for path, of in pairs if of == number and path is not None]
            count = "1 file" if len(files) == 1 else f"{len(files):,} files, such as"
            others = f"; not compared: {listed(unread[number])}" if unread[number] else ""
            if files:
                yield f"{count} {files[0]}: {document}{others}"


def _slots_of(document: DocumentTemplate) -> dict[ColumnPath, ColumnPath]:
    """What must be equal in a document, by what tells one such value from another."""
    paths = document.equal.paths if document.equal else ()
    return {replace(path, optional=True): path for path in paths}


def _equal(slots: Iterable[ColumnPath], own: Mapping[ColumnPath, ColumnPath]) -> Template:
    """One text of what must be equal, with a place for each slot, those that are not own empty."""
    parts: list[str | ColumnPath] = []
    for slot in slots:
        parts += [SEPARATOR, *([own[slot]] if slot in own else [])]
    return Template(tuple(parts[1:]) if own else ())
