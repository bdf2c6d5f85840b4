"""Places: which there are, and what is said where one cannot be used."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dedupe.errors import DedupeError, SettingsError
from dedupe.hiding import without_secrets_of
from dedupe.remote import given as given_options
from dedupe.remote.given import PROTOCOLS

if TYPE_CHECKING:
    from typing_extensions import TypeIs
    from upath import UPath

Remote: TypeAlias = "UPath"
"""A path with a protocol."""

Place: TypeAlias = "Path | UPath"
"""A path on a local disk, or one with a protocol."""

STORES = ("s3", "gcs", "azure")
"""Object stores."""

CONNECTIONS = 50
"""To an S3 server at a time; botocore keeps to 10 unless it is told."""

WRITABLE = (*STORES, "memory")

_ACCESS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN "
    "where they are temporary); AWS_ENDPOINT_URL for a store that is not Amazon's; "
    "FSSPEC_S3_ANON=true for a public bucket",
    "gcs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud auth application-default; "
    "FSSPEC_GS_TOKEN=anon for a public bucket",
    "azure": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with "
    "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "hf": "set HF_TOKEN to a token that may read it",
    "http": "it asks for a login, which cannot be given here",
}
"""How each backend is given its credentials."""

_BACKENDS = {
    *("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google"),
    *("httpx", "httpx2", "huggingface_hub", "requests", "s3fs", "urllib3"),
}
"""Packages whose exceptions are about the store, and no defect of this project."""

_OF_OPTIONS = (AttributeError, RuntimeError, TypeError, ValueError)
"""What backends raise of options with a wrong name or type."""

_BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP statuses that may be another one the next time."""

_BUSY_CODES = (
    *("SlowDown", "TooManyRequests", "InternalError", "ServiceUnavailable", "RequestTimeout"),
    *("Throttling", "RequestLimitExceeded", "OperationAborted", "ConditionalRequestConflict"),
)
"""The same in words of S3."""

_REFUSED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "400")
"""What S3 says of credentials without calling it forbidden; 400 is all that a HEAD is told."""

_BROKEN = (
    *("ClientConnectionError", "ClientPayloadError", "ConnectionError", "HTTPClientError"),
    *("IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "ServiceRequestError"),
    *("ServiceResponseError", "TimeoutError", "TransportError"),
)
"""Exceptions of a connection that was lost or not made, in the words of all backends."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)(://|::)")
_SQUEEZED = re.compile(rf"({'|'.join(PROTOCOLS)}):/[^/]")
_NO_BUCKET = re.compile(r"(bucket|container) does not exist|repository not found", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


class StoreError(OSError):
    """A store that cannot be used, or that gave less than was asked for.

    uri: what was asked for. reason: why, and what to do. passing: whether it may be gone by itself.
    is_short: whether fewer bytes came than were asked for.
    """

    def __init__(
        self, uri: str, reason: str, *, passing: bool = False, is_short: bool = False
    ) -> None:
        self.uri = uri
        self.reason = reason
        self.passing = passing
        self.is_short = is_short
        super().__init__(f"{uri}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        """As other errors, it can be sent to another process."""
        made = partial(type(self), passing=self.passing, is_short=self.is_short)
        return made, (self.uri, self.reason)


def is_uri(path: str) -> bool:
    """Whether a path begins with a protocol."""
    return _URI.match(path) is not None


def is_remote(path: Place) -> TypeIs[UPath]:
    """Whether a place is elsewhere than on a local disk."""
    return not isinstance(path, Path)


def place(given: str | Place) -> Place:
    """The place that a path names.

    Raises SettingsError for a protocol that is not known, a chain of them (zip://a::s3://b), and
    one whose package is not installed.
    """
    text = str(given)
    if not is_uri(text):
        if isinstance(given, Path) and _SQUEEZED.match(text):
            raise SettingsError(
                f"{text}: a Path has lost a slash of it, give a str like s3://bucket/folder"
            )
        return Path(text)
    check(text)
    with reaching(text):
        from upath import UPath

        found: UPath = UPath(text.rstrip("/"), **options(text))
        found.fs  # noqa: B018 - fails where its package is missing
    return found


def place_to_write(given: str | Place, *, work: bool = False) -> Place:
    """The place that a path names, absolute if it is on a disk.

    given: the path. work: whether it is for a work directory, which needs many small objects.
    Raises SettingsError where nothing can be written, and for what `place` refuses.
    """
    found = place(given)
    if not is_remote(found):
        return found.absolute()
    text = str(found)
    kind = extra(text)
    if kind not in WRITABLE and (work or kind != "hf"):
        what = "a work directory" if work else "an output"
        advice = "name one with --work-dir" if work else "choose another --output"
        raise SettingsError(f"{text}: {what} cannot be there: {advice} on s3://, gs:// or a disk")
    if "/" not in text.partition("://")[2]:
        raise SettingsError(f"{text}: name a folder in it, such as {text}/dedupe")
    if _MAGIC.search(text):
        raise SettingsError(f"{text}: a place to write to has none of * ? [ in it")
    return found


def check(uri: str) -> None:
    """Raise SettingsError for a URI that is not of the known protocols, or a chain."""
    found = _URI.match(uri)
    protocol = found[1] if found else ""
    if "::" in uri:
        raise SettingsError(f"{uri}: chained protocols (::) are refused: name the file itself")
    if protocol not in PROTOCOLS:
        known = ", ".join(f"{name}://" for name in PROTOCOLS)
        raise SettingsError(f"{uri}: there are paths on a local disk, and {known}")


def extra(uri: str) -> str:
    """The extra of this package that a URI needs."""
    return PROTOCOLS[uri.partition("://")[0]]


def options(uri: str) -> dict[str, Any]:
    """Options with which the filesystem of a URI is made.

    They are those that were given for its protocol, and that listings are not remembered, since
    others write too.
    """
    found: dict[str, Any] = {"use_listings_cache": False} if extra(uri) in STORES else {}
    own = given_options.for_kind(extra(uri))
    if extra(uri) == "s3":
        from fsspec.config import conf

        theirs = {**conf.get("s3", {}), **own}.get("config_kwargs") or {}
        if not isinstance(theirs, dict):
            raise SettingsError(f"{uri}: config_kwargs in the storage options is not an object")
        own["config_kwargs"] = {"max_pool_connections": CONNECTIONS, **theirs}
    return {**found, **own}


def store(uri: str) -> tuple[Any, str]:
    """The filesystem of fsspec that a URI is on, and its path there.

    Raises SettingsError for a URI that `check` refuses and where a package is missing, StoreError
    where there is no access.
    """
    check(uri)
    url = given_options.whole(uri)
    with reaching(uri):
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url, **options(uri))
    return filesystem, path


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what a backend raises about `uri` while the block runs into errors that say what to do.

    Raises FileNotFoundError for an object that is not there, SettingsError for a package that is
    missing and options that are not taken, StoreError for all else that the store did.
    """
    try:
        yield
    except (DedupeError, StoreError):
        raise
    except ImportError as error:
        kind = extra(uri)
        raise SettingsError(
            f"{uri}: a package is missing ({error}): pip install 'dedupe-engine[{kind}]'"
        ) from error
    except FileNotFoundError as error:
        cause = error.__cause__
        if extra(uri) == "http" and cause and getattr(cause, "status", 0) != 404:
            # fsspec says so of any error
            raise StoreError(uri, _reason(uri, cause), passing=is_passing(cause)) from error
        if _NO_BUCKET.search(str(error)):
            reason = f"{said_of(uri, error)}: check the name, or make it first"
            raise StoreError(uri, reason) from error
        raise FileNotFoundError(errno.ENOENT, "No such file", uri) from error
    except Exception as error:
        if _from_backend(uri, error):
            raise StoreError(
                uri,
                _reason(uri, error),
                passing=is_passing(error),
                is_short=_is_beyond_its_end(error),
            ) from error
        if isinstance(error, _OF_OPTIONS) and given_options.for_kind(extra(uri)):
            reason = f"its filesystem does not take these storage options: {said_of(uri, error)}"
            raise SettingsError(f"{uri}: {reason}") from error
        raise


def down(uri: str, error: BaseException, waited: float) -> StoreError:
    """The error of a store that did not come back.

    uri: what was asked for. error: what it said last. waited: seconds for which it was asked again.
    """
    reason = f"{_reason(uri, error)}; it was asked again for {waited / 60:.1f} minutes"
    return StoreError(uri, f"{reason}: give the same command again when the store is back")


def _reason(uri: str, error: BaseException) -> str:
    kind = extra(uri)
    if _is_about_access(error) and kind in _ACCESS:
        return f"no access ({said_of(uri, error)}): {_ACCESS[kind]}"
    return f"cannot be reached: {said_of(uri, error)}"


def _from_backend(uri: str, error: Exception) -> bool:
    names = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    no_account = extra(uri) == "azure" and isinstance(error, ValueError)
    return isinstance(error, OSError) or bool(names & _BACKENDS) or no_account


def is_passing(error: BaseException | None) -> bool:
    """Whether a store may answer otherwise when it is asked again."""
    return any(
        bool(_codes(cause) & {*map(str, _BUSY), *_BUSY_CODES})
        or bool({cls.__name__ for cls in type(cause).__mro__} & set(_BROKEN))
        for cause in _causes(error)
    )


def is_taken(error: BaseException) -> bool:
    """Whether a store refused to make an object because there is one."""
    return any(
        isinstance(cause, FileExistsError) or bool(_codes(cause) & {"412", "PreconditionFailed"})
        for cause in _causes(error)
    )


def _is_beyond_its_end(error: BaseException) -> bool:
    """Whether bytes were asked for that an object does not have."""
    return any(_codes(cause) & {"416", "InvalidRange"} for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _codes(error: BaseException) -> set[str]:
    """What a backend says of an answer: its status, and its code."""
    names = ("status", "status_code", "code")  # aiohttp's, Azure's, gcsfs's
    found = [next((getattr(error, name) for name in names if hasattr(error, name)), None)]
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        found.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        found.append(response.get("Error", {}).get("Code"))
    return {str(one) for one in found}


def _is_about_access(error: BaseException) -> bool:
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    response = getattr(error.__cause__, "response", None)  # botocore's, within an error of s3fs
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    words = "Credential|Authentication|TokenRetrieval|ProfileNotFound|RefreshError|GatedRepo"
    return (
        isinstance(error, PermissionError | ValueError)
        or status in (401, 403)
        or code in _REFUSED
        or any(re.search(words, cls.__name__) for cls in type(error).__mro__)
    )


def said_of(uri: str, error: BaseException) -> str:
    """What a store answered about `uri`, in a line without secrets."""
    text = given_options.masked(" ".join(str(error).split())) or type(error).__name__
    return without_secrets_of(uri, text)[:200].rstrip(".")
