"""What clocks elsewhere are told, worked out by hand; and what they cannot be told, with the reason."""

import datetime as dt
import re
import shutil
import subprocess

import pytest

from taskyard.errors import CannotSay
from taskyard.schedules import At, Bounds, Cron, Every
from taskyard.schedules.decisions import CatchUp, Overlap
from taskyard.schedules.definitions.definition import Declaration, Definition
from taskyard.schedules.recurrence import Recurrence
from taskyard.schedules.target import Target
from taskyard.schedules.targets.crontab import Crontab, CrontabOptions
from taskyard.schedules.targets.dialect import five_fields, refuse_differences
from taskyard.schedules.targets.kubernetes import Kubernetes, KubernetesOptions
from taskyard.schedules.targets.oncalendar import on_calendar
from taskyard.schedules.targets.systemd import Systemd, SystemdOptions

SINCE = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTES, HOURS, DAYS = (lambda n, unit=unit: dt.timedelta(**{unit: n}) for unit in ("minutes", "hours", "days"))
BERLIN = "Europe/Berlin"


def declared(recurrence: Recurrence, **said: object) -> Declaration:
    return Declaration("purge", Definition(task="app.nothing", recurrence=recurrence, **said))


def crontab(timezone: str = "UTC") -> Crontab:
    return Crontab(
        CrontabOptions(path="/x", timezone=timezone, command=["/bin/taskyard"], directory="/srv"), owner="shop"
    )


def kubernetes(**options: object) -> Kubernetes:
    return Kubernetes(KubernetesOptions(path="/x", image="shop:7", **options), owner="shop")


def systemd() -> Systemd:
    return Systemd(SystemdOptions(path="/x", command=["/bin/taskyard"], directory="/srv"), owner="shop")


@pytest.mark.parametrize(
    ("recurrence", "said"),
    [
        (Cron("30 2 * * *"), "30 2 * * *"),
        (Cron("@weekly"), "0 0 * * 0"),
        (Cron("*/15 8-18 * * MON-FRI"), "*/15 8-18 * * 1-5"),
        (Cron("5/20 0 1,15 JAN,JUL *"), "5-45/20 0 1,15 1,7 *"),
        (Cron("0 0 * * SUN,7,3"), "0 0 * * 0,3"),
        (Cron("0 0 * * 5-7"), "0 0 * * 0,5,6"),
        (Cron("0 0 1-7 * MON"), "0 0 1-7 * 1"),
        (Cron("0,1,2,10,30 */1 * * *"), "0-2,10,30 * * * *"),
        (Cron("*/20,5 * * * *"), "*/20,5 * * * *"),
        (Every(MINUTES(1)), "* * * * *"),
        (Every(MINUTES(15), phase=MINUTES(5)), "5-50/15 * * * *"),
        (Every(HOURS(6), phase=MINUTES(90)), "30 1-19/6 * * *"),
        (Every(HOURS(1)), "0 * * * *"),
        (Every(HOURS(12)), "0 */12 * * *"),
        (Every(DAYS(1), phase=HOURS(3)), "0 3 * * *"),
        (Every(DAYS(7), phase=DAYS(3) + HOURS(4)), "0 4 * * 0"),
    ],
    ids=str,
)
def test_five_fields_of_numbers_mean_the_same(recurrence: Recurrence, said: str) -> None:
    assert five_fields("any", recurrence, days="debian") == (said, "UTC")
    assert [due.at for due in Cron(said).next(200, SINCE)] == [due.at for due in recurrence.next(200, SINCE)]


@pytest.mark.parametrize(
    ("recurrence", "reason"),
    [
        (Cron("0 0 L * *"), "no L, the last of a month"),
        (Cron("0 0 LW * *"), "no L, the last of a month"),
        (Cron("0 0 * * 5L"), "no L, the last of a month"),
        (Cron("0 0 * * MON#2"), "no #, the n-th of a month"),
        (Every(dt.timedelta(seconds=90)), "whole minutes"),
        (Every(MINUTES(5), phase=dt.timedelta(seconds=30)), "whole minutes"),
        (Every(MINUTES(90)), "not at the same minutes of the same hours"),
        (Every(MINUTES(7)), "not at the same minutes of the same hours"),
        (Every(DAYS(2)), "not at the same minutes of the same hours"),
        (At(SINCE), "runs once, at 2026-05-04 12:00 UTC"),
    ],
    ids=str,
)
def test_what_five_fields_cannot_say_is_refused(recurrence: Recurrence, reason: str) -> None:
    with pytest.raises(CannotSay, match=reason):
        five_fields("any", recurrence, days="debian")


@pytest.mark.parametrize(
    ("expression", "days", "is_said"),
    [
        ("0 0 13 * FRI", "either", True),
        ("0 0 13 * FRI", "both", False),
        ("0 0 */2 * FRI", "either", False),
        ("0 0 */2 * FRI", "both", True),
        ("0 0 */2 * FRI", "debian", True),
        ("0 0 */2 * *", "either", True),
    ],
)
def test_a_day_of_month_beside_a_day_of_week_is_not_read_the_other_way(expression, days, is_said) -> None:
    if is_said:
        five_fields("any", Cron(expression), days=days)
        return
    with pytest.raises(CannotSay, match="takes that the other way"):
        five_fields("any", Cron(expression), days=days)


def test_a_clock_that_differs_in_one_hour_of_the_year_is_found() -> None:
    wanted = Cron("30 2 * * *", timezone=BERLIN)
    with pytest.raises(CannotSay, match=r"around a change .* of Europe/Berlin .* 2026-10-25 01:30 UTC"):
        refuse_differences("any", wanted, said=Cron("30 2 * * *", timezone=BERLIN, fold="both"), since=SINCE)
    with pytest.raises(CannotSay, match=r"would not call for what is due, at 2027-03-28 01:00 UTC"):
        refuse_differences("any", wanted, said=Cron("30 2 * * *", timezone=BERLIN, gap="skip"), since=SINCE)
    refuse_differences(
        "any", Cron("30 4 * * *", timezone=BERLIN), said=Cron("30 4 * * *", timezone=BERLIN, gap="skip"), since=SINCE
    )


YEARLY = Cron("0 12 1 7 *")


@pytest.mark.parametrize(
    ("target", "recurrence", "reason"),
    [
        (crontab(BERLIN), Cron("30 2 * * *", timezone=BERLIN), ""),
        (crontab(BERLIN), Cron("*/15 * * * *", timezone=BERLIN), ""),
        (crontab(BERLIN), Every(MINUTES(15)), ""),
        (crontab(BERLIN), Every(HOURS(2)), "keeps the time of Europe/Berlin, the schedule that of UTC"),
        (crontab(BERLIN), Cron("30 * * * *", timezone=BERLIN), "around a change of the clocks"),
        (crontab(BERLIN), Cron("30 2 * * *", timezone=BERLIN, gap="skip"), "gap='next_valid', fold='first'"),
        (crontab(), Cron("30 2 * * *", timezone=BERLIN), "keeps the time of UTC, the schedule that of Europe/Berlin"),
        (crontab("Europe/London"), YEARLY, "keeps the time of Europe/London"),
        (crontab(), Cron("0 9 * * *", timezone="Etc/UTC"), ""),
        (kubernetes(), Cron("0 9 * * *", timezone=BERLIN), ""),
        (kubernetes(), Cron("*/30 * * * *", timezone=BERLIN), ""),
        (kubernetes(), Cron("30 2 * * *", timezone=BERLIN), "around a change of the clocks"),
        (kubernetes(), Cron("30 2 * * *", timezone=BERLIN, gap="skip", fold="both"), ""),
        (systemd(), Cron("0 9 * * *", timezone=BERLIN), ""),
        (systemd(), Cron("30 2 * * *", timezone=BERLIN, gap="skip", fold="first"), ""),
        (systemd(), Cron("30 2 * * *", timezone=BERLIN), "gap='skip', fold='first'"),
        (systemd(), Cron("*/15 * * * *", timezone=BERLIN), "around a change of the clocks"),
    ],
    ids=str,
)
def test_where_clocks_change_a_target_says_exactly_that_or_nothing(target: Target, recurrence, reason: str) -> None:
    target.since = SINCE
    if not reason:
        assert target.translate(declared(recurrence)).fields
        return
    with pytest.raises(CannotSay, match=reason):
        target.translate(declared(recurrence))


def test_a_window_is_said_where_it_can_be() -> None:
    spread = declared(Cron("0 3 * * *"), bounds=Bounds(window=MINUTES(10)))
    for target in (crontab(), kubernetes()):
        with pytest.raises(CannotSay, match=r"to begin within 0:10:00"):
            target.translate(spread)
    fields = systemd().translate(spread).fields
    assert (fields["timer.Timer.RandomizedDelaySec"], fields["timer.Timer.FixedRandomDelay"]) == (["600s"], ["true"])
    for rule in {"catch_up": CatchUp.NONE}, {"catch_up_window": MINUTES(5)}:
        with pytest.raises(CannotSay, match="it is missed by then"):
            systemd().translate(declared(Cron("0 3 * * *"), bounds=Bounds(window=MINUTES(10)), **rule))


def test_a_line_of_a_crontab() -> None:
    fields = crontab().translate(declared(Cron("0 3 * * *"))).fields
    assert fields == {
        "schedule": "0 3 * * *",
        "command": "cd /srv && exec /bin/taskyard schedules run --due=now purge",
    }
    odd = Declaration("50% of 'it'", declared(Cron("0 3 * * *")).definition)
    assert crontab().translate(odd).fields["command"].endswith(r"""--due=now '50\% of '"'"'it'"'"''""")
    with pytest.raises(CannotSay, match="longer than the 998"):
        crontab().translate(Declaration("%" * 200 + "'" * 200, odd.definition))


def test_a_cronjob() -> None:
    target = kubernetes(namespace="jobs", container={"env": [{"name": "A", "value": "b"}]}, pod={"hostname": "h"})
    item = target.translate(declared(Cron("0 9 * * MON", timezone=BERLIN), description="words"))
    container = item.fields["spec.jobTemplate.spec.template.spec.containers"][0]
    assert item.key == "shop-purge"
    assert (item.fields["spec.schedule"], item.fields["spec.timeZone"]) == ("0 9 * * 1", BERLIN)
    assert (item.fields["metadata.namespace"], item.fields["metadata.annotations"]) == (
        "jobs",
        {"description": "words"},
    )
    assert (container["image"], container["command"]) == ("shop:7", ["python", "-m", "taskyard"])
    assert container["args"] == ["schedules", "run", "--due=job:$(TASKYARD_JOB_NAME)", "purge"]
    assert [variable["name"] for variable in container["env"]] == ["TASKYARD_JOB_NAME", "A"]
    assert item.fields["spec.jobTemplate.spec.template.spec.hostname"] == "h"


@pytest.mark.parametrize(
    ("said", "concurrency", "deadline"),
    [
        ({}, "Forbid", None),
        ({"overlap": Overlap.ALLOW, "catch_up": CatchUp.NONE}, "Allow", 60),
        ({"overlap": Overlap.CANCEL_RUNNING, "catch_up_window": HOURS(2)}, "Replace", 7_200),
        ({"overlap": Overlap.BUFFER_ALL, "catch_up_window": dt.timedelta(seconds=5)}, "Allow", 60),
    ],
)
def test_overlap_and_catch_up_of_a_cronjob(said, concurrency: str, deadline: int | None) -> None:
    fields = kubernetes().translate(declared(Cron("0 9 * * *"), **said)).fields
    assert (fields["spec.concurrencyPolicy"], fields.get("spec.startingDeadlineSeconds")) == (concurrency, deadline)


def test_the_name_of_a_cronjob_leaves_room_for_its_jobs() -> None:
    item = kubernetes().translate(
        Declaration("Purge: everything, every day, everywhere! " * 3, declared(YEARLY).definition)
    )
    assert re.fullmatch(r"shop-purge-[a-z0-9-]{1,39}[a-z0-9]", item.key)
    assert len(item.key) <= 52


CALENDARS: list[tuple[Recurrence, list[str]]] = [
    (Cron("30 2 * * *"), ["*-*-* 02:30:00 UTC"]),
    (Cron("*/15 8,9 * * MON-WED", timezone=BERLIN), ["Mon,Tue,Wed *-*-* 08,09:00,15,30,45:00 Europe/Berlin"]),
    (Cron("* * * * *"), ["*-*-* *:*:00 UTC"]),
    (Cron("0 0 13 * FRI"), ["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
    (Cron("0 0 */10 JAN SUN,7"), ["Sun *-01-01,11,21,31 00:00:00 UTC"]),
    (Cron("0 6 L * *"), ["*-*~01 06:00:00 UTC"]),
    (Cron("0 6 1,L * *"), ["*-*-01 06:00:00 UTC", "*-*~01 06:00:00 UTC"]),
    (Cron("0 6 LW * *"), ["Mon,Tue,Wed,Thu,Fri *-*~01 06:00:00 UTC", "Fri *-*~02,03 06:00:00 UTC"]),
    (Cron("0 6 LW * */2"), ["Tue,Thu *-*~01 06:00:00 UTC"]),
    (Cron("0 6 * * 5L"), ["Fri *-*~01,02,03,04,05,06,07 06:00:00 UTC"]),
    (Cron("0 6 * * MON#2"), ["Mon *-*-08,09,10,11,12,13,14 06:00:00 UTC"]),
    (Cron("0 6 * * MON#5,7"), ["Sun *-*-* 06:00:00 UTC", "Mon *-*-29,30,31 06:00:00 UTC"]),
    (Cron("0 6 */2 * TUE#1"), ["Tue *-*-01,03,05,07 06:00:00 UTC"]),
    (Every(dt.timedelta(seconds=10), phase=dt.timedelta(seconds=3)), ["*-*-* *:*:03/10 UTC"]),
    (Every(MINUTES(15), phase=dt.timedelta(seconds=320)), ["*-*-* *:05/15:20 UTC"]),
    (Every(HOURS(1), phase=MINUTES(5)), ["*-*-* *:05:00 UTC"]),
    (Every(MINUTES(480)), ["*-*-* 00,08,16:00:00 UTC"]),
    (Every(MINUTES(480 + 240)), ["*-*-* 00,12:00:00 UTC"]),
    (Every(MINUTES(288)), [
        "*-*-* 00:00:00 UTC", "*-*-* 04:48:00 UTC", "*-*-* 09:36:00 UTC", "*-*-* 14:24:00 UTC", "*-*-* 19:12:00 UTC",
    ]),
    (Every(DAYS(7), phase=DAYS(3) + HOURS(4)), ["Sun *-*-* 04:00:00 UTC"]),
    (At(dt.datetime(2027, 2, 1, 8, tzinfo=dt.UTC)), ["2027-02-01 08:00:00 UTC"]),
    (Cron("30 2 * * *", timezone=BERLIN, gap="skip", fold="first"), ["*-*-* 02:30:00 Europe/Berlin"]),
]  # fmt: skip


@pytest.mark.parametrize(("recurrence", "lines"), CALENDARS, ids=str)
def test_calendar_events(recurrence: Recurrence, lines: list[str]) -> None:
    assert on_calendar("systemd", recurrence) == lines


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here: nothing else reads it")
@pytest.mark.parametrize("recurrence", [one for one, _ in CALENDARS], ids=str)
def test_systemd_itself_is_due_when_the_schedule_is(recurrence: Recurrence) -> None:
    wanted = [due.at for due in recurrence.next(12, SINCE)]
    lists = [elapses(line, len(wanted)) for line in on_calendar("systemd", recurrence)]
    assert sorted({at for ats in lists for at in ats if at <= wanted[-1]}) == wanted


def elapses(line: str, count: int) -> list[dt.datetime]:
    command = [
        "systemd-analyze",
        "calendar",
        f"--base-time={SINCE:%Y-%m-%d %H:%M:%S} UTC",
        f"--iterations={count}",
        line,
    ]
    said = subprocess.run(
        command, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    times = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ (\S+ \S+) UTC", said.stdout)
    return [dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC) for time in times]


@pytest.mark.parametrize(
    ("recurrence", "reason"),
    [
        (Every(MINUTES(7)), "at other times each day"),
        (Every(dt.timedelta(seconds=8)), "would take 450 lines"),
        (Cron("0 6 */2 * 5L"), "from both ends of a month"),
        (At(SINCE.replace(microsecond=5)), "whole seconds"),
    ],
    ids=str,
)
def test_what_calendar_events_cannot_say_is_refused(recurrence: Recurrence, reason: str) -> None:
    with pytest.raises(CannotSay, match=reason):
        on_calendar("systemd", recurrence)


def test_the_units_of_a_schedule() -> None:
    definition = declared(Cron("0 3 * * *"), catch_up=CatchUp.NONE, description="100 %\nsure").definition
    item = systemd().translate(Declaration('a "b" $c', definition))
    assert item.key.startswith("taskyard-shop-a-b-c-")
    assert item.fields["service.Service.ExecStart"] == ['/bin/taskyard schedules run --due=now "a \\"b\\" $$c"']
    assert item.fields["timer.Timer.Persistent"] == ["false"]
    assert item.fields["timer.Unit.Description"] == ["100 %% sure"]
    relative = Systemd(SystemdOptions(path="/x", command=["python"]), owner="shop")
    with pytest.raises(CannotSay, match="must begin with a whole path"):
        relative.translate(declared(Cron("0 3 * * *")))
