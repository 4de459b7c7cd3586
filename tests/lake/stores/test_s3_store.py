"""Goal: a writer recognises its own file after a lost answer, retries end, and no credential is shown.

Method: a correct server, behind one that loses answers, refuses or stays silent.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import lance
import pyarrow as pa
import pytest

from tests.lake.facts import landed_ids, of_three_kinds
from tests.s3_servers import Answer, Faults, Pass, Request, drops_metadata, free_port, in_front_of
from tracelake.lake import Lake
from tracelake.lake.stores.retries import RETRY_TIMEOUT_VARIABLE
from tracelake.lake.stores.s3_store import S3Store, connection_options, parse_s3
from tracelake.lake.stores.store import open_store
from tracelake.lake.tables.commits import append_with_cursor, create_table, open_table, replace_rows
from tracelake.schemas.errors import BadInputError, LakeMissingError, StoreUnavailableError

LOST_ANSWERS = ("done, then 500", "done, then silence", "done, then reset")
FAULTS = (*LOST_ANSWERS, "reset", "unavailable", "refused with 409")
CANARIES = {
    "AWS_ACCESS_KEY_ID": "CANARYID0123456789",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+0123456789",
    "AWS_SESSION_TOKEN": "canary-token-0123456789",
}


@pytest.fixture
def _short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_TIMEOUT_VARIABLE, "0.3")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_writer_recognises_its_own_file_after_a_lost_answer(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    faults = Faults(fault)
    with in_front_of(s3_server, faults) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = S3Store(bucket, "")
        assert store.put_new("a", b"same")
        assert faults.seen.count("PUT") == 2
        assert not store.put_new("a", b"same")


@pytest.mark.parametrize("fault", LOST_ANSWERS)
def test_after_a_lost_answer_another_writers_file_is_not_taken_for_ours(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    assert S3Store(bucket, "").put_new("a", b"same")
    with in_front_of(s3_server, Faults(fault)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert not S3Store(bucket, "").put_new("a", b"same")


@pytest.mark.parametrize("fault", [*LOST_ANSWERS, "reset", "refused with 409"])
def test_a_lake_on_a_faulty_server_contains_each_event_once(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    Lake.create(f"s3://{bucket}/lake")
    with in_front_of(s3_server, Faults(*[fault, ""] * 40)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        lake = Lake.open(f"s3://{bucket}/lake")
        with lake.writer("run") as writer:
            writer.append(of_three_kinds(range(2)))
        assert len(landed_ids(lake.store)) == len(set(landed_ids(lake.store))) == 6
        assert sum(lake.project().values()) == 6
        assert lake.pin("p", ["reward_assigned"]).reference == "p@1"
        assert lake.verify(deep=True).ok


def test_without_metadata_a_file_is_never_claimed_twice(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_front_of(s3_server, drops_metadata) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = S3Store(bucket, "")
        assert [store.put_new("a", b"same") for _ in range(2)] == [True, False]


def always(status: int, body: bytes = b"") -> Callable[[Request, Pass], Answer]:
    return lambda *_: Answer(status, body=body)


@pytest.mark.parametrize("status", [409, 500, 503])
@pytest.mark.usefixtures("_short_retries")
def test_retries_end_in_a_typed_error(bucket: str, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    def refuse(request: Request, pass_on: Pass) -> Answer:
        return Answer(status if request.method == "PUT" else 404)

    with in_front_of("", refuse) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreUnavailableError, match=str(status)):
            S3Store(bucket, "").put_new("a", b"")


@pytest.mark.usefixtures("_short_retries")
def test_every_call_reports_a_missing_server_or_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = S3Store(f"{bucket}-not", "x")
    with pytest.raises(StoreUnavailableError, match="404"):
        absent.put_new("a", b"")
    with pytest.raises(LakeMissingError):
        Lake.open(f"s3://{bucket}-not/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    alone = S3Store(bucket, "x")
    calls = (
        lambda: alone.put_new("a", b""),
        lambda: alone.read("a"),
        lambda: alone.exists("a"),
        lambda: alone.list("a"),
        lambda: alone.delete("a"),
        lambda: open_table(alone.location("tables/t.lance")),
    )
    for call in calls:
        with pytest.raises(StoreUnavailableError, match=f"s3://{bucket}/x"):
            call()


def test_the_environment_cannot_switch_conditions_off(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    lake = Lake.create(f"s3://{bucket}/x")
    with lake.writer("run") as writer:
        writer.append(of_three_kinds(range(1)))
    assert sum(lake.project().values()) == 3


def test_plain_http_needs_a_loopback_address_or_permission() -> None:
    assert connection_options({"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})["allow_http"] == "true"
    assert connection_options({"AWS_ENDPOINT_URL": "http://localhost"})["allow_http"] == "true"
    for endpoint in ("http://storage.example", "http://localhost.example", "http://127.0.0.1.example/"):
        assert connection_options({"AWS_ENDPOINT_URL": endpoint})["allow_http"] == "false"
        assert (
            connection_options({"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"})["allow_http"]
            == "true"
        )


def test_variables_of_s3_take_precedence_over_those_of_all_services() -> None:
    both = {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_S3": "https://s3.example"}
    assert connection_options(both)["aws_endpoint"] == "https://s3.example"
    assert "aws_endpoint" not in connection_options({})
    regions = {"AWS_DEFAULT_REGION": "eu-north-1", "AWS_REGION": "eu-west-1"}
    assert connection_options(regions)["aws_region"] == "eu-west-1"


@pytest.mark.parametrize(
    "rest",
    [
        "CANARY:canary@bucket/x",
        "bucket/x?key=canary",
        "bucket/x#canary",
        "bucket/a canary",
        "bucket/é/canary",
        "bucket/%20canary",
        "canary_",
        "",
        "/canary",
        "bucket/../canary",
    ],
)
def test_an_address_that_may_contain_a_secret_is_refused_and_not_quoted(rest: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_s3(rest)
    assert "canary" not in str(caught.value).lower()


def test_an_endpoint_with_a_password_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:canary@127.0.0.1:1")
    with pytest.raises(BadInputError) as caught:
        open_store("s3://bucket/x")
    assert "canary" not in str(caught.value)


def quotes_keys(request: Request, _: Pass) -> Answer:
    """Some servers quote the key that they do not know."""
    values = "".join(f"<AWSAccessKeyId>{value}</AWSAccessKeyId>" for value in CANARIES.values())
    return Answer(403, body=f"<Error><Code>InvalidAccessKeyId</Code>{values}</Error>".encode())


@pytest.mark.usefixtures("_short_retries")
def test_no_credential_is_in_an_error_or_its_traceback(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    schema = pa.schema([("a", pa.int64())])
    with in_front_of("", quotes_keys) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = S3Store(bucket, "x")
        at = store.location("tables/t.lance")
        calls = (
            lambda: store.put_new("a", b""),
            lambda: store.read("a"),
            lambda: store.exists("a"),
            lambda: store.list("a"),
            lambda: store.delete("a"),
            lambda: open_table(at),
            lambda: create_table(at, schema),
            lambda: replace_rows(at, schema.empty_table(), exists=False),
            lambda: Lake.create(f"s3://{bucket}/x"),
            lambda: Lake.open(f"s3://{bucket}/x"),
        )
        for call in calls:
            with pytest.raises(StoreUnavailableError) as caught:
                call()
            shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            assert not [value for value in CANARIES.values() if value in shown], shown


def test_no_credential_is_shown_or_written_by_a_lake(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    lake = Lake.create(f"s3://{bucket}/x")
    with lake.writer("run") as writer:
        writer.append(of_three_kinds(range(1)))
    lake.project()
    pin = lake.pin("p", ["reward_assigned"])
    at = lake.store.location("tables/reward_assigned.lance")
    shown = [repr(lake), repr(lake.store), repr(vars(lake.store)), lake.uri, repr(at), str(at.options)]
    shown += [
        pin.model_dump_json(),
        repr(lake.scan("reward_assigned")),
        lake.scan("reward_assigned").explain(),
    ]
    shown += [lake.store.read(path).decode("latin-1") for path in lake.store.list("")]
    assert not [value for value in CANARIES.values() for text in shown if value in text]


@pytest.mark.usefixtures("_short_retries")
def test_a_commit_that_cannot_be_written_is_a_typed_error(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing: list[bool] = []

    def refuse_writes(request: Request, pass_on: Pass) -> Answer:
        return quotes_keys(request, pass_on) if refusing and request.method == "PUT" else pass_on(request)

    rows = pa.table({"a": [1]})
    with in_front_of(s3_server, refuse_writes) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        dataset = create_table(S3Store(bucket, "").location("tables/t.lance"), rows.schema)
        assert isinstance(dataset, lance.LanceDataset)
        refusing.append(True)
        for given in (rows, rows.slice(0, 0)):
            with pytest.raises(StoreUnavailableError):
                append_with_cursor(dataset, given, {"epoch": 1})


@pytest.mark.usefixtures("_short_retries")
def test_an_outage_during_the_check_of_a_pin_is_no_verdict_on_the_pin(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    down: list[bool] = []

    def out(request: Request, pass_on: Pass) -> Answer:
        return quotes_keys(request, pass_on) if down and "tables" in request.path else pass_on(request)

    with in_front_of(s3_server, out) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        lake = Lake.create(f"s3://{bucket}/x")
        with lake.writer("run") as writer:
            writer.append(of_three_kinds(range(1)))
        lake.project()
        pin = lake.pin("p", ["reward_assigned"])
        down.append(True)
        with pytest.raises(StoreUnavailableError):
            lake.open_pin(pin.reference)
        down.clear()
        assert lake.open_pin(pin.reference).pin == pin
