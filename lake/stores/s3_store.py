"""A bucket of S3, or of a server that speaks its protocol, as a store.

**Create-if-absent is `If-None-Match: *`**, and a server may have done what it could not confirm: the request
is sent again, and refused because of its own first try. So every file carries the mark of the call that
made it, and a refused call looks whose mark is there. A refusal with nothing there was a race on the server
(409): the call is made anew. So it is where a connection was reset, after which the library does not send
what may have been done.
**Patience is bounded**: what fails for longer ends as StoreUnavailableError.
**No credential is held here or told**: the libraries read them from the environment, and texts of servers are
cleared of them.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import S3Store as Bucket

from tracelake.lake.stores.location import Location, told_by, was_reset
from tracelake.lake.stores.retries import PAUSE_S_MAX, patience, tries
from tracelake.schemas.errors import BadInputError, LakeMissingError, StoreUnavailableError

REQUEST_S_MAX = 120.0
# Lance tries about so many rounds, each with the patience that it was given.
LANCE_ROUNDS = 6
RETRIES_MAX = 1000
MARK = "tracelake-put"
BUCKET_PATTERN = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Of other letters Lance and obstore make different keys.
PREFIX_PATTERN = re.compile(r"[A-Za-z0-9._=-]+")
LOOPBACK_PATTERN = re.compile(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")
ENDPOINT_PATTERN = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


class S3Address(NamedTuple):
    """What follows `s3://`."""

    bucket: str
    prefix: str


def parse_s3(rest: str) -> S3Address:
    """Raises BadInputError, without quoting the address: it may hold what should not be in one."""
    bucket, _, prefix = rest.partition("/")
    parts = [part for part in prefix.split("/") if part]
    usable = all(PREFIX_PATTERN.fullmatch(part) and part not in (".", "..") for part in parts)
    if not BUCKET_PATTERN.fullmatch(bucket) or not usable:
        raise BadInputError(
            "not an S3 address",
            got="s3://…",
            expected="s3://BUCKET/PREFIX, of letters, digits, '.', '_', '-', '='; the bucket of 3 to 63, no "
            "capitals",
            cure="Keys, endpoint and region come from the environment: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION.",
        )
    return S3Address(bucket, "/".join(parts))


class S3Store:
    """A prefix in a bucket. Reads the environment when it is made."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Raises BadInputError for variables that make no sense."""
        self._root = f"{bucket}/{prefix}" if prefix else bucket
        self._patience_s = patience(os.environ)
        self._options = reach(os.environ)
        with self._told("open"):
            self._bucket = Bucket(
                bucket,
                prefix=prefix or None,
                config=_config(self._options),
                client_options={
                    "allow_http": self._options["allow_http"] == "true",
                    "timeout": timedelta(seconds=REQUEST_S_MAX),
                },
                retry_config={
                    "max_retries": RETRIES_MAX,
                    "retry_timeout": timedelta(seconds=self._patience_s),
                    "backoff": {"max_backoff": timedelta(seconds=PAUSE_S_MAX)},
                },
            )

    @property
    def uri(self) -> str:
        return f"s3://{self._root}"

    @property
    def spool_folder(self) -> Path | None:
        return None

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        mark = uuid.uuid4().hex

        def put() -> bool | None:
            try:
                obstore.put(self._bucket, path, data, mode="create", attributes={MARK: mark})
            except AlreadyExistsError:
                found = self._mark_at(path)
                return None if found is None else found == mark
            return True

        made = self._settled(f"write {path}", put)
        if made is None:
            raise StoreUnavailableError(
                f"the store did not settle who writes {path}",
                got=f"409 for {self._patience_s:g} s",
                expected="the file, or the refusal of it",
                cure="Try again; what has landed is known by its content.",
            )
        return made

    def read(self, path: str) -> bytes:
        with self._told(f"read {path}"):
            try:
                return bytes(obstore.get(self._bucket, path).bytes())
            except FileNotFoundError:
                pass
        raise LakeMissingError(
            "a file of the lake is missing", got=path, expected="a file that the lake wrote"
        )

    def exists(self, path: str) -> bool:
        with self._told(f"look for {path}"):
            try:
                obstore.head(self._bucket, path)
            except FileNotFoundError:
                return False
        return True

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        with self._told(f"list {prefix}"):
            pages = obstore.list(self._bucket, prefix)
            return sorted(item["path"] for page in pages for item in page if item["path"].endswith(suffix))

    def delete(self, path: str) -> None:
        def delete() -> bool:
            with suppress(FileNotFoundError):
                obstore.delete(self._bucket, path)
            return True

        self._settled(f"delete {path}", delete)

    def location(self, path: str) -> Location:
        return Location(f"s3://{self._root}/{path}", self._options)

    def _mark_at(self, path: str) -> str | None:
        """The mark of the file's maker, '' if it bears none; null if nothing is there."""
        try:
            return str(obstore.get(self._bucket, path, options={"head": True}).attributes.get(MARK, ""))
        except FileNotFoundError:
            return None

    def _settled(self, doing: str, call: Callable[[], bool | None]) -> bool | None:
        """What the call returns; while that is null, or its connection is reset, it is made anew until
        patience ends."""
        broken: GenericError | None = None
        for _ in tries(self._patience_s):
            broken = None
            with self._told(doing):
                try:
                    if (result := call()) is not None:
                        return result
                except GenericError as error:
                    if not was_reset(error):
                        raise
                    broken = error
        with self._told(doing):
            if broken is not None:
                raise broken
        return None

    @contextmanager
    def _told(self, doing: str) -> Generator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # Not chained: a traceback would print the server's text as it came.
            raise StoreUnavailableError(
                f"the store {self.uri} cannot {doing}",
                got=told_by(error),
                cure="Look at the bucket's name, AWS_ENDPOINT_URL, AWS_REGION and the keys.",
            ) from None


def reach(environment: Mapping[str, str]) -> dict[str, str]:
    """How the store is reached, in the names that Lance takes; without credentials, which it reads itself.

    Plain HTTP is for loopback addresses, and for those who ask for it with AWS_ALLOW_HTTP. Raises
    BadInputError for an endpoint that is none, or holds a password.
    """
    endpoint = next((environment[name] for name in ENDPOINT_VARIABLES if environment.get(name)), None)
    if endpoint is not None and not ENDPOINT_PATTERN.fullmatch(endpoint):
        raise BadInputError(
            "not an endpoint",
            got="an address that is not quoted here",
            expected="http(s)://HOST:PORT, without user, password or query, in AWS_ENDPOINT_URL",
        )
    region = next((environment[name] for name in REGION_VARIABLES if environment.get(name)), "us-east-1")
    loopback = endpoint is not None and LOOPBACK_PATTERN.match(endpoint) is not None
    allow_http = loopback or environment.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    virtual = environment.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false").lower()
    return {
        "aws_region": region,
        "aws_virtual_hosted_style_request": virtual,
        # Said, because the environment could switch conditions off.
        "aws_conditional_put": "etag",
        "allow_http": "true" if allow_http else "false",
        "client_max_retries": str(RETRIES_MAX),
        "client_retry_timeout": f"{patience(environment) / LANCE_ROUNDS:.0f}",
        **({"aws_endpoint": endpoint} if endpoint else {}),
    }


def _config(options: Mapping[str, str]) -> Any:
    """obstore's share of the options; it knows the other ones as arguments."""
    return {key: value for key, value in options.items() if key.startswith("aws_")}
