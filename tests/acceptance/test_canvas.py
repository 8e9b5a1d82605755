"""Code written for plain Celery (``tests/app/plain.py``) on real workers; one per broker serves all tests here."""

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord, group
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult, GroupResult
from django.utils import timezone

from taskyard.celery import get_app
from taskyard.models import Job
from tests import workers
from tests.app import plain
from tests.app.models import Note
from tests.app.plain import breaks, double, gather, on_error, on_error_by_id, say
from tests.app.tasks import add, autoretries, retries
from tests.conftest import BROKERS
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

#: A generous deadline: the machine may be busy.
SOON = 40.0


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", params=BROKERS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[Project]:  # fmt: skip
    """A project with one worker that runs throughout, on one broker after the other."""
    with django_db_blocker.unblock(), BROKERS[request.param]() as address:
        with workers.project(tmp_path_factory.mktemp("canvas"), address) as made:
            made.start_worker("-c", "4")
            yield made


@pytest.fixture
def canvas(served: Project, db: None) -> Iterator[Project]:
    """The served project; the tables are emptied after each test, when no job runs."""
    yield served
    wait_until_idle(SOON)


def row(result: Any) -> Job:
    return Job.objects.get(id=uuid.UUID(result.id))


def get(result: Any, **options: Any) -> Any:
    return result.get(timeout=SOON, **options)


def lines(canvas: Project, *words: str) -> int:
    """How often a line with these words was written."""
    return sum(line[2 : 2 + len(words)] == list(words) for line in canvas.history())


def wait_for_line(canvas: Project, *words: str) -> None:
    wait_until(lambda: lines(canvas, *words), SOON, f"the line {words}")


def key() -> str:
    return uuid.uuid4().hex


# -- chains, groups, chords


def test_a_chain_hands_its_results_on_and_each_step_has_a_row_with_parent_and_root(canvas: Project) -> None:
    last = (add.s(1, 2) | add.s(3) | double.s()).apply_async()

    assert get(last) == 12

    steps = [last.parent.parent, last.parent, last]
    rows = [row(step) for step in steps]
    assert [one.result for one in rows] == [3, 6, 12]
    assert {one.root for one in rows} == {rows[0].id}
    assert [one.parent for one in rows] == [None, rows[0].id, rows[1].id]
    assert [child.id for child in steps[0].children] == [steps[1].id]
    assert [step.state for step in steps] == ["SUCCESS"] * 3


def test_a_group_gives_its_results_in_order_and_can_be_saved_and_restored(canvas: Project) -> None:
    result = group(double.s(n) for n in range(5)).apply_async()
    result.save()

    restored = GroupResult.restore(result.id, app=get_app())

    assert get(restored) == get(result) == [0, 2, 4, 6, 8]
    assert restored.successful()
    assert result.completed_count() == 5
    assert {row(member).root for member in result.results} == {uuid.UUID(result.id)}
    result.delete()
    assert GroupResult.restore(result.id, app=get_app()) is None


def test_a_group_with_a_failure_says_which_member_failed(canvas: Project) -> None:
    result = group(double.s(1), breaks.s(), double.s(2)).apply_async()

    values = get(result, propagate=False)

    assert [values[0], values[2]] == [2, 4]
    assert isinstance(values[1], ZeroDivisionError)
    assert result.failed()
    assert not result.successful()
    with pytest.raises(ZeroDivisionError, match="as asked"):
        get(result)


def test_a_chord_calls_its_body_once_with_the_results_in_the_order_of_the_header(canvas: Project) -> None:
    mark = key()
    body = chord([double.s(n) for n in (3, 1, 2)])(say.s(mark))

    get(body)

    assert lines(canvas, "say", "[6,", "2,", "4]", mark) == 1
    members = [row(member) for member in body.parent.results]
    assert {member.root for member in members} == {row(body).root}
    assert row(body).parent in {member.id for member in members}


def test_a_failed_member_fails_the_body_of_its_chord_and_calls_its_errback(canvas: Project) -> None:
    body = chord([double.s(1), breaks.s(), double.s(2)])(gather.s().on_error(on_error_by_id.s()))

    failed = wait_for_state(body.id, "failed", SOON)
    assert failed.error["reason"] == "upstream"
    assert isinstance(body.result, ChordError)
    assert "ZeroDivisionError" in str(body.result)
    # As in plain Celery, get() prefers the error of a member to that of the body.
    with pytest.raises(ZeroDivisionError):
        get(body)
    wait_for_line(canvas, "error", body.id)
    assert lines(canvas, "error", body.id) == 1


def test_canvases_nest_as_in_plain_celery(canvas: Project) -> None:
    group_in_chain = (add.s(1, 1) | group(add.s(10), add.s(20)) | gather.s() | double.s()).apply_async()
    chord_of_chains = chord([add.s(1, 2) | double.s(), double.s(5) | add.s(1)])(gather.s())
    chord_of_chords = chord([chord([double.s(1), double.s(2)], gather.s()), double.s(10)])(gather.s())
    chord_of_groups = chord([group(double.s(1), double.s(2)), double.s(3)])(gather.s())
    group_of_chains = group(add.s(1, 1) | double.s(), add.s(2, 2)).apply_async()
    group_at_the_end = (add.s(1, 1) | group(add.s(1), add.s(2))).apply_async()
    empty = chord([])(gather.s())

    assert get(group_in_chain) == 68
    assert get(chord_of_chains) == 17
    assert get(chord_of_chords) == 26
    assert get(chord_of_groups) == 12
    assert get(group_of_chains) == [4, 4]
    assert get(group_at_the_end) == [3, 4]
    assert get(empty) == 0
    # Every task of the first canvas is found by its root: the first task, two members, the body, the last step.
    first = Job.objects.get(id=row(group_in_chain).root)
    assert first.task.endswith("add")
    family = Job.objects.filter(root=first.id)
    assert family.count() == 5
    assert all(one.parent for one in family if one.id != first.id)


def test_map_starmap_and_chunks_run_unchanged(canvas: Project) -> None:
    assert get(double.map([1, 2, 3]).apply_async()) == [2, 4, 6]
    assert get(add.starmap([(1, 2), (3, 4)]).apply_async()) == [3, 7]
    assert get(add.chunks([(n, n) for n in range(4)], 2).apply_async()) == [[0, 2], [4, 6]]


def test_a_chain_that_fails_tells_every_later_step_and_runs_none_of_them(canvas: Project) -> None:
    mark = key()
    last = (double.s(1) | breaks.s() | double.s() | say.s(mark)).apply_async()

    with pytest.raises(ZeroDivisionError, match="as asked"):
        get(last)

    wait_for_state(last.id, "failed", SOON)
    assert last.state == "FAILURE"
    assert last.parent.parent.state == "FAILURE"
    assert last.parent.parent.parent.state == "SUCCESS"
    assert row(last).error["reason"] == "upstream"
    assert lines(canvas, "say") == 0 or not any(mark in line for line in canvas.history())


def test_jobs_that_a_task_enqueues_are_its_children(canvas: Project) -> None:
    result = plain.fans_out.delay(3)

    ids = get(result)

    assert [child.id for child in result.children] == ids
    children = Job.objects.filter(id__in=ids)
    assert {(one.parent, one.root) for one in children} == {(row(result).id, row(result).id)}
    assert [value for _, value in result.collect() if value in (0, 2, 4)] == [0, 2, 4]


def test_a_task_is_sent_by_name_and_knows_its_request(canvas: Project) -> None:
    result = get_app().send_task("tests.app.plain.about", headers={"colour": "red"}, expires=300)

    seen = get(result)

    assert seen["id"] == seen["root"] == result.id
    assert (seen["headers"], seen["retries"], seen["parent"]) == ("red", 0, None)
    assert dt.datetime.fromisoformat(seen["expires"]) > timezone.now()


# -- retries


def test_retries_run_the_task_again_and_leave_a_record_of_each_attempt(canvas: Project) -> None:
    by_hand, automatic, changed = retries.delay(2), autoretries.delay(1), plain.retries_with_other_arguments.delay(1)

    assert (get(by_hand), get(automatic), get(changed)) == (2, 1, 3)

    assert row(by_hand).attempt == 3
    assert list(row(by_hand).attempts.values_list("number", "error_type")) == [(1, "KeyError"), (2, "KeyError")]
    assert row(automatic).attempt == 2


def test_a_task_that_used_up_its_retries_fails_with_its_error(canvas: Project) -> None:
    by_hand, automatic = retries.delay(99), autoretries.delay(99)

    with pytest.raises(KeyError):
        get(by_hand)
    with pytest.raises(OSError, match="not yet"):
        get(automatic)

    assert (row(by_hand).attempt, row(automatic).attempt) == (4, 3)
    assert row(by_hand).attempts.count() == 4


def test_a_retry_inside_atomic_leaves_nothing_of_the_transaction_and_happens(canvas: Project) -> None:
    text = key()

    assert get(plain.fails_once_in_its_transaction.delay(text)) == 1

    assert Note.objects.filter(text=text).count() == 1
    wait_for_line(canvas, "say", text)
    # The job enqueued in the transaction that was rolled back does not exist.
    assert Job.objects.filter(task__endswith="plain.say", args=[text]).count() == 1


def test_a_retry_that_does_not_throw_lets_the_body_end_and_runs_it_again(canvas: Project) -> None:
    mark, follower = key(), key()
    result = plain.retries_and_goes_on.apply_async((mark,), link=say.si(follower))

    assert get(result) == "of the second try"

    wait_for_line(canvas, "say", follower)
    assert lines(canvas, "say", mark) == 1
    assert lines(canvas, "say", follower) == 1
    assert row(result).attempt == 2


def test_a_member_that_is_retried_counts_once_in_its_chord(canvas: Project) -> None:
    assert get(chord([retries.s(1), autoretries.s(2), double.s(1)])(gather.s())) == 5


# -- links


def test_links_run_after_success_and_error_links_of_both_forms_after_failure(canvas: Project) -> None:
    mark = key()
    good = double.apply_async((4,), link=[say.s(mark), double.s() | say.s(mark)], link_error=on_error_by_id.s())
    bad = breaks.apply_async(link=say.s(mark), link_error=[on_error_by_id.s(), on_error.s()])

    assert get(good) == 8
    assert isinstance(get(bad, propagate=False), ZeroDivisionError)

    wait_for_line(canvas, "say", "8", mark)
    wait_for_line(canvas, "say", "16", mark)
    wait_for_line(canvas, "error", bad.id, "ZeroDivisionError", "traceback")
    wait_until(lambda: lines(canvas, "error", bad.id) == 2, SOON, "both errbacks")
    assert lines(canvas, "error", good.id) == 0
    assert sum(mark in line for line in canvas.history()) == 2
    assert Job.objects.filter(parent=row(bad).id).count() == 2


def test_an_error_link_on_a_chain_is_called_by_the_step_that_fails(canvas: Project) -> None:
    last = (double.s(1) | breaks.s() | double.s()).apply_async(link_error=on_error.s())

    get(last, propagate=False)

    failed = last.parent
    wait_for_line(canvas, "error", failed.id, "ZeroDivisionError")
    assert lines(canvas, "error", failed.id) == 1


# -- time


def test_an_expired_task_is_cancelled_and_never_runs(canvas: Project) -> None:
    mark = key()
    past = say.apply_async((mark,), expires=timezone.now() - dt.timedelta(minutes=1))
    too_late = say.apply_async((mark,), countdown=1.2, expires=0.2)

    for result in (past, too_late):
        with pytest.raises(TaskRevokedError, match="expired"):
            get(result)
        assert result.state == "REVOKED"
        assert (row(result).state, row(result).error["reason"]) == ("cancelled", "expired")
    assert not any(mark in line for line in canvas.history())


def test_eta_and_countdown_are_kept_and_known_to_the_task(canvas: Project) -> None:
    eta = timezone.now() + dt.timedelta(seconds=1)
    by_eta, by_countdown = plain.about.apply_async(eta=eta), plain.about.apply_async(countdown=1)
    assert row(by_eta).available_at == eta

    assert dt.datetime.fromisoformat(get(by_eta)["eta"]) == eta
    get(by_countdown)

    assert row(by_eta).started_at >= eta
    assert row(by_countdown).started_at - row(by_countdown).created_at >= dt.timedelta(seconds=0.99)


# -- results and states


def test_results_are_read_forgotten_and_not_kept_where_nobody_wants_them(canvas: Project) -> None:
    result, unkept = double.delay(21), plain.keeps_no_result.delay()

    assert get(result) == 42
    wait_for_state(unkept.id, "succeeded", SOON)

    assert result.successful()
    assert not result.failed()
    assert AsyncResult(result.id, app=get_app()).result == 42
    assert row(unkept).result is None
    result.forget()
    assert row(result).result is None
    assert row(result).state == "succeeded"


def test_a_state_the_task_gives_itself_is_seen_while_it_runs(canvas: Project, tmp_path: Path) -> None:
    ends = {how: plain.shows_its_state.delay(str(tmp_path / "go"), how) for how in ("return", "ignore", "fail")}

    for result in ends.values():
        wait_until(lambda one=result: AsyncResult(one.id).state == "COUNTING", SOON, "the state")
        assert AsyncResult(result.id).info == {"page": 7}
    (tmp_path / "go").touch()

    assert get(ends["return"]) == "seen"
    assert wait_for_state(ends["ignore"].id, "succeeded", SOON).result is None
    failed = wait_for_state(ends["fail"].id, "failed", SOON)
    assert AsyncResult(ends["fail"].id).state == "FAILURE"
    assert (failed.error["type"], failed.error["message"]) == ("ValueError", "by hand")


def test_a_rejected_task_fails_or_comes_again_without_spending_an_attempt(canvas: Project, tmp_path: Path) -> None:
    dropped = plain.rejects.delay(requeue=False, mark=str(tmp_path / "dropped"))
    again = plain.rejects.delay(requeue=True, mark=str(tmp_path / "again"))

    assert get(again) == "after all"
    assert wait_for_state(dropped.id, "failed", SOON).error["reason"] == "rejected"

    # Two starts, one of them not counted.
    assert (row(again).attempt, row(again).max_attempts) == (2, row(dropped).max_attempts + 1)
    assert row(dropped).attempt == 1


# -- replace


@pytest.mark.parametrize(
    ("how", "result"), [("task", 6), ("chain", 12), ("chord", 12), ("group", [6, 6]), ("again", 6)]
)
def test_a_replaced_task_ends_with_the_result_of_what_replaced_it(canvas: Project, how: str, result: Any) -> None:
    alone = plain.replaced_by.delay(how, 3)
    in_chain = (plain.replaced_by.s(how, 3) | double.s()).apply_async()
    in_chord = chord([plain.replaced_by.s(how, 3), double.s(1)])(double.s())

    assert get(alone) == result
    assert get(in_chain) == result * 2
    assert get(in_chord) == [result, 2] * 2
    assert row(alone).state == "succeeded"


def test_a_replacement_that_fails_fails_the_task_it_replaced(canvas: Project) -> None:
    result = plain.replaced_by.delay("failure", 3)

    with pytest.raises(ZeroDivisionError):
        get(result)

    assert row(result).state == "failed"
