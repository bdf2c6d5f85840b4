"""What the program says: on a terminal, in a file, through a pipe, or to nobody.

All of it goes through a `Lasting` stream, so that a display which is closed, full or gone never
ends a run; and through `say`, `console` or `json_text`, which leave nothing of ids, texts, names of
columns and files, or other data that could steer a terminal.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

from dedupe.errors import STEERING, printable
from dedupe.hiding import without_secrets

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult


class Lasting:
    """A text stream that can be written to whatever becomes of it.

    After the first error nothing more is written. What the encoding does not have becomes a ?.

    stream: what is written to; None where there is nothing. error: the first error, if there was
    one.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.error: OSError | ValueError | None = None
        self._was_terminal = self.isatty()

    def __getattr__(self, name: str) -> Any:
        """Everything else is as the stream has it."""
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text, if that is still possible; how much was given."""
        if self._stream is not None and self.error is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self.error = error
        return len(text)

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        if self._stream is not None and self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        stream = self._stream
        is_open = self.error is None and not getattr(stream, "closed", True)
        return is_open and cast("IO[str]", stream).isatty()

    def let_go(self) -> None:
        """Flush it, and after an error drop what it still holds, which Python writes at its end."""
        self.flush()
        if self.error is not None:
            with suppress(OSError, ValueError, AttributeError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, cast("IO[str]", self._stream).fileno())
                os.close(nothing)

    @property
    def lost(self) -> OSError | None:
        """The error for which something is missing; None where nobody is there to miss it."""
        error = self.error
        if not isinstance(error, OSError) or self._was_terminal or error.errno == errno.EPIPE:
            return None
        return error


def lasting(stream: IO[str] | None) -> IO[str]:
    """A stream as a `Lasting` one."""
    return cast("IO[str]", Lasting(stream))


@contextmanager
def lasting_streams() -> Iterator[Lasting]:
    """Let standard output and standard error last for the block; yields standard output.

    A standard stream that is closed is opened to nowhere: a file of the run would take its number,
    and messages of libraries would be written to it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    out, err = Lasting(sys.stdout), Lasting(sys.stderr)
    sys.stdout, sys.stderr = cast("Any", out), cast("Any", err)
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before
        for stream in (out, err):
            stream.let_go()


def say(text: str, *, stream: IO[str] | None = None) -> None:
    """Print a line of plain text; stream: where to, by default standard error, without secrets."""
    shown = Lasting(stream or sys.stderr)
    text = text if stream is sys.stdout else without_secrets(text)
    shown.write(f"{printable(text)}\n")
    shown.flush()


def json_text(value: Any) -> str:
    """A value as JSON for people, in which what could steer a terminal is escaped."""
    return STEERING.sub(_escaped, json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def console(*, error: bool = False) -> Console:
    """A console of rich on standard output; error: on standard error.

    A str is printed as it is, but for what could steer the terminal; a style is given beside it, or
    as a `Text`.
    """
    from rich.console import Console

    made = Console(
        file=lasting(sys.stderr if error else sys.stdout),
        markup=False,
        highlight=False,
        emoji=False,
    )
    made.push_render_hook(cast("RenderHook", _Cleaning()))
    return made


class _Cleaning:
    """Cleans all that a console is given, whatever it is made of."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """See `rich.console.RenderHook`."""
        return [_Clean(one) for one in renderables]


class _Clean:
    """Something to print, cleaned when rich has made text and styles of it."""

    def __init__(self, dirty: ConsoleRenderable) -> None:
        self._dirty = dirty

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for one in console.render(self._dirty, options):
            yield one if one.control else Segment(printable(one.text), one.style)
