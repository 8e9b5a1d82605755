"""Arguments as text, keys, ids."""

import json
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskyard.errors import InvalidTask, NotJson, PayloadTooLarge
from taskyard.jobs.ids import job_id, new_id, original_id
from taskyard.tasks.payload import encode_arguments, encode_value
from taskyard.tasks.unique import unique_key, unique_lock

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


# -- payloads


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 10**40, 1e22, 1.5, "", "a\0b", "\ud800", "ü💥", [], {}, [[{"a": [1]}]]]
)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    args, kwargs = encode_arguments("shop.send", [value], {"x": value}, 10_000)
    assert json.loads(args) == [value]
    assert json.loads(kwargs) == {"x": value}
    assert args.isascii()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1}, "set"), (object(), "object"), (b"x", "bytes"), (math.nan, "JSON"), (math.inf, "JSON"),
        ({1: 2}, "key 1"), ({"a": {None: 1}}, "key None"), ([({True: 1},)], "key True"), ({(1, 2): 3}, "tuple"),
        (CIRCLE, "ircular"), (uuid.UUID(int=1), "UUID"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_with_the_name_of_the_argument(value: Any, problem: str) -> None:
    with pytest.raises(NotJson, match=r"Task 'shop\.send': argument 'order' cannot be stored as JSON") as caught:
        encode_arguments("shop.send", [1], {"fine": 1, "order": value}, 10_000)
    assert problem in str(caught.value)
    with pytest.raises(NotJson, match="argument 2 "):
        encode_arguments("shop.send", [1, value], {}, 10_000)
    with pytest.raises(NotJson, match="the checkpoint"):
        encode_value("shop.send", "the checkpoint", value)


def test_the_size_is_that_of_both_texts_together() -> None:
    assert encode_arguments("t.t", ["x" * 10], {"a": 1}, 21) == ('["xxxxxxxxxx"]', '{"a":1}')
    with pytest.raises(PayloadTooLarge, match=r"take 21 bytes, the limit is 20"):
        encode_arguments("t.t", ["x" * 10], {"a": 1}, 20)


# -- unique keys


@pytest.mark.parametrize(
    ("unique", "key"),
    [
        ("a", "one"), ("b", "2"), ("c", '{"x":null}'), (("a", "b"), '["one",2]'), (("a",), '["one"]'),
        (True, '{"a":"one","b":2,"c":{"x":null}}'), (lambda a, b, c: f"{a}-{b}", "one-2"),
        (lambda **_: [1, 2], "[1,2]"),
    ],
)  # fmt: skip
def test_the_key_of_a_call(unique: Any, key: str) -> None:
    assert unique_key("t.t", unique, {"b": 2, "a": "one", "c": {"x": None}}) == key


def test_a_key_of_an_argument_the_call_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidTask, match="names 'z'"):
        unique_key("t.t", ("a", "z"), {"a": 1})


def test_a_key_that_is_not_json_is_refused() -> None:
    with pytest.raises(NotJson, match="the unique key"):
        unique_key("t.t", lambda a: {a}, {"a": 1})


def test_the_lock_tells_tenant_task_and_key_apart() -> None:
    locks = {
        unique_lock(*words)
        for words in [("t.t", "", "k"), ("t.t", "", "l"), ("t.u", "", "k"), ("t.t", "acme", "k"), ("t.t", "k", "")]
    }
    assert len(locks) == 5
    assert unique_lock("t.t", "", "k") == unique_lock("t.t", "", "k")
    assert all(len(lock) == 64 for lock in {*locks, unique_lock("t.t", "", "\ud800" * 10_000)})


# -- ids


def test_ids_are_uuids_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    one = new_id()
    after = time.time_ns() // 1_000_000
    assert (one.version, one.variant) == (7, uuid.RFC_4122)
    # Made in a burst, ids may run ahead of the clock by their count of quarter microseconds.
    assert before - 1 <= one.int >> 80 <= after + 100


def test_later_ids_sort_after_earlier_ones_also_in_a_burst_and_across_threads() -> None:
    burst = [new_id() for _ in range(20_000)]
    assert burst == sorted(burst)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: [new_id() for _ in range(2000)], range(4)))
    assert all(part == sorted(part) for part in parts)
    assert len({one for part in parts for one in part}) == 8000
    assert min(min(part) for part in parts) > burst[-1]


@pytest.mark.parametrize(
    ("task_id", "original"),
    [
        ("0199f6a0-5b7c-7a11-8f5e-000000000001", ""),
        ("0199F6A0-5B7C-7A11-8F5E-000000000001", "0199F6A0-5B7C-7A11-8F5E-000000000001"),
        ("0199f6a05b7c7a118f5e000000000001", "0199f6a05b7c7a118f5e000000000001"),
    ],
)
def test_a_uuid_is_its_own_row_id_however_it_is_written(task_id: str, original: str) -> None:
    assert job_id(task_id) == uuid.UUID("0199f6a0-5b7c-7a11-8f5e-000000000001")
    assert original_id(task_id) == original


def test_any_other_id_has_a_row_id_of_its_own_for_ever() -> None:
    # Stored rows depend on this value.
    assert job_id("report-17") == uuid.uuid5(uuid.UUID("6f2d1b1e-4c11-5e0a-9d57-7461736b7961"), "report-17")
    assert original_id("report-17") == "report-17"
    assert len({job_id(text) for text in ("report-17", "report-18", "Report-17", "", "\ud7ff")}) == 5
