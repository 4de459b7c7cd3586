"""A store in a bucket of S3, or of a server with its protocol.

**Create-if-absent is `If-None-Match: *`.** A server may create a file and fail to confirm it; the library
then sends the request again, and the server refuses it because of its own first try. So every file carries
the mark of the call that created it, and a refused call compares the mark of the existing file. A refusal
without a file was a race on the server (409), and the call is repeated. It is also repeated after a
connection reset, since the library does not resend a request that may have been done.
**Retries are bounded in time**: a longer failure raises StoreUnavailableError.
**No credential is stored here or quoted**: the libraries read credentials from the environment, and they are
removed from messages of servers.
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

from tracelake.lake.stores.location import Location
from tracelake.lake.stores.request_errors import error_reason, was_reset
from tracelake.lake.stores.retries import PAUSE_S_MAX, retry_timeout_s, tries
from tracelake.schemas.errors import BadInputError, LakeMissingError, StoreUnavailableError

REQUEST_S_MAX = 120.0
# Lance tries about so many rounds, each as long as the timeout that it was given.
LANCE_ROUNDS = 6
RETRIES_MAX = 1000
MARK = "tracelake-put"
BUCKET_PATTERN = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Lance and obstore encode other characters differently.
PREFIX_PATTERN = re.compile(r"[A-Za-z0-9._=-]+")
LOOPBACK_PATTERN = re.compile(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")
ENDPOINT_PATTERN = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


class S3Address(NamedTuple):
    """The part of an address behind `s3://`."""

    bucket: str
    prefix: str


def parse_s3(rest: str) -> S3Address:
    """Raises BadInputError, without quoting the address: it may contain a secret."""
    bucket, _, prefix = rest.partition("/")
    parts = [part for part in prefix.split("/") if part]
    usable = all(PREFIX_PATTERN.fullmatch(part) and part not in (".", "..") for part in parts)
    if not BUCKET_PATTERN.fullmatch(bucket) or not usable:
        raise BadInputError(
            "not an S3 address",
            got="s3://…",
            expected="s3://BUCKET/PREFIX of letters, digits, '.', '_', '-', '='; a bucket of 3 to 63 "
            "characters without capitals",
            cure="Keys, endpoint and region come from the environment: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION.",
        )
    return S3Address(bucket, "/".join(parts))


class S3Store:
    """A prefix in a bucket. Reads the environment when it is created."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Raises BadInputError for invalid variables."""
        self._root = f"{bucket}/{prefix}" if prefix else bucket
        self._retry_timeout_s = retry_timeout_s(os.environ)
        self._options = connection_options(os.environ)
        with self._typed_errors("open"):
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
                    "retry_timeout": timedelta(seconds=self._retry_timeout_s),
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

        created = self._retry_until_known(f"write {path}", put)
        if created is None:
            raise StoreUnavailableError(
                f"it stayed unknown whether {path} was created",
                got=f"409 for {self._retry_timeout_s:g} s",
                expected="the file, or a refusal because it exists",
                cure="Try again: a file that has landed is recognised by its content.",
            )
        return created

    def read(self, path: str) -> bytes:
        with self._typed_errors(f"read {path}"):
            try:
                return bytes(obstore.get(self._bucket, path).bytes())
            except FileNotFoundError:
                pass
        raise LakeMissingError(
            "a file of the lake is missing", got=path, expected="a file that the lake wrote"
        )

    def exists(self, path: str) -> bool:
        with self._typed_errors(f"look for {path}"):
            try:
                obstore.head(self._bucket, path)
            except FileNotFoundError:
                return False
        return True

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        with self._typed_errors(f"list {prefix}"):
            pages = obstore.list(self._bucket, prefix)
            return sorted(item["path"] for page in pages for item in page if item["path"].endswith(suffix))

    def delete(self, path: str) -> None:
        def delete() -> bool:
            with suppress(FileNotFoundError):
                obstore.delete(self._bucket, path)
            return True

        self._retry_until_known(f"delete {path}", delete)

    def location(self, path: str) -> Location:
        return Location(f"s3://{self._root}/{path}", self._options)

    def _mark_at(self, path: str) -> str | None:
        """The mark of the existing file, '' if it has none; null if there is no file."""
        try:
            return str(obstore.get(self._bucket, path, options={"head": True}).attributes.get(MARK, ""))
        except FileNotFoundError:
            return None

    def _retry_until_known(self, action: str, call: Callable[[], bool | None]) -> bool | None:
        """Repeat a call until it returns true or false. Null, and a reset connection, mean that it is unknown
        what the server did. Returns null, or raises, after the timeout."""
        reset: GenericError | None = None
        for _ in tries(self._retry_timeout_s):
            reset = None
            with self._typed_errors(action):
                try:
                    if (result := call()) is not None:
                        return result
                except GenericError as error:
                    if not was_reset(error):
                        raise
                    reset = error
        with self._typed_errors(action):
            if reset is not None:
                raise reset
        return None

    @contextmanager
    def _typed_errors(self, action: str) -> Generator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            # Not chained: a traceback would print the server's message with its quotes of keys.
            raise StoreUnavailableError(
                f"the store {self.uri} cannot {action}",
                got=error_reason(error),
                cure="Look at the bucket's name, AWS_ENDPOINT_URL, AWS_REGION and the keys.",
            ) from None


def connection_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Endpoint, region and retries, under Lance's names; without credentials, which Lance reads itself.

    Plain HTTP is allowed for loopback addresses, and for others with AWS_ALLOW_HTTP. Raises BadInputError for
    an endpoint that is no address or contains a password.
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
        # Explicit, because the environment could switch conditions off.
        "aws_conditional_put": "etag",
        "allow_http": "true" if allow_http else "false",
        "client_max_retries": str(RETRIES_MAX),
        "client_retry_timeout": f"{retry_timeout_s(environment) / LANCE_ROUNDS:.0f}",
        **({"aws_endpoint": endpoint} if endpoint else {}),
    }


def _config(options: Mapping[str, str]) -> Any:
    """The options for obstore's `config`; it takes the others as arguments."""
    return {key: value for key, value in options.items() if key.startswith("aws_")}
