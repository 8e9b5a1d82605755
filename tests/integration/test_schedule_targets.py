"""What every target keeps to, on each of them; and what their clocks then call."""

import datetime as dt
import io
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.errors import ConfigurationError, DamagedTarget
from taskyard.jobs.models import Job
from taskyard.schedules import At, Cron, Every, Schedule, register
from taskyard.schedules.sources import code
from taskyard.schedules.target import Target, target_named
from taskyard.schedules.targets import TARGETS
from tests.app.tasks import nothing

pytestmark = pytest.mark.django_db

HOURLY, DAILY = Every(dt.timedelta(hours=1)), Cron("0 3 * * *")
FILES = ("crontab", "kubernetes", "systemd")
FOREIGN = {
    "crontab": "MAILTO=ops\n0 0 * * * true",
    "kubernetes": '{"kind": "CronJob"}',
    "systemd": "[Timer]\nOnCalendar=daily\n",
}
NAME_OF_FOREIGN = {"crontab": "crontab", "kubernetes": "theirs.json", "systemd": "taskyard-backup.timer"}


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    command = ["/usr/bin/python3", "-m", "taskyard"]
    settings.TASKYARD = {
        "SCHEDULE_OWNER": "shop",
        "SCHEDULE_TARGETS": {
            "crontab": {"path": str(tmp_path / "crontab"), "command": command},
            "kubernetes": {"path": str(tmp_path), "image": "shop:7"},
            "systemd": {"path": str(tmp_path), "command": command},
        },
    }
    yield


def declare(**recurrences: Any) -> None:
    code._declared.clear()
    for name, recurrence in recurrences.items():
        register(name, recurrence, task=nothing)


def kinds(target: Target, *, adopt: bool = False) -> list[tuple[str, str]]:
    return [(change.kind, change.name) for change in target.sync(adopt=adopt)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def put_foreign(name: str, folder: Path) -> dict[str, bytes]:
    (folder / NAME_OF_FOREIGN[name]).write_text(FOREIGN[name])
    return contents(folder)


def edit(name: str, folder: Path) -> None:
    """As an administrator would, at night."""
    ours, was, will = {
        "crontab": ("crontab", "0 3 * * *", "0 5 * * *"),
        "kubernetes": ("shop-daily.json", '"0 3 * * *"', '"0 5 * * *"'),
        "systemd": ("taskyard-shop-daily.timer", "*-*-* 03:00:00 UTC", "*-*-* 05:00:00 UTC"),
    }[name]
    text = (folder / ours).read_text()
    assert was in text
    (folder / ours).write_text(text.replace(was, will))


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# tests/clouds asks the same of the clouds', tests/compat of Beat's rows.
@pytest.fixture(params=["builtin", *FILES])
def target(request: pytest.FixtureRequest) -> Target:
    return target_named(request.param)


def test_a_second_run_plans_nothing(target: Target) -> None:
    declare(daily=DAILY, hourly=HOURLY)
    assert kinds(target) == [("add", "daily"), ("add", "hourly")]
    assert target.compare() == kinds(target) == []


def test_what_the_code_drops_or_changes_goes_or_changes(target: Target) -> None:
    declare(daily=DAILY, hourly=HOURLY)
    target.sync()
    declare(daily=Cron("0 4 * * *"))
    assert kinds(target) == [("change", "daily"), ("remove", "hourly")]
    assert kinds(target) == []


def test_a_target_gets_what_is_for_it(target: Target) -> None:
    register("everywhere", DAILY, task=nothing)
    register("here", DAILY, task=nothing, targets=[target.name])
    register("elsewhere", DAILY, task=nothing, targets=[name for name in TARGETS if name != target.name])
    assert kinds(target) == [("add", "everywhere"), ("add", "here")]


def test_an_edit_is_drift_that_is_reverted_or_adopted(name: str, tmp_path: Path) -> None:
    target = target_named(name)
    declare(daily=DAILY, hourly=HOURLY)
    target.sync()
    written = contents(tmp_path)
    edit(name, tmp_path)
    edited = contents(tmp_path)
    [change] = target.compare()
    assert (change.kind, change.name) == ("revert", "daily")
    [(before, after)] = change.fields.values()
    assert (str(before), str(after)) == (str(after).replace("3", "5", 1), str(after))
    assert kinds(target, adopt=True) == [("adopt", "daily")]
    assert contents(tmp_path) == edited
    assert kinds(target) == [("revert", "daily")]
    assert contents(tmp_path) == written


def test_an_adopted_edit_stays_until_the_code_changes(name: str, tmp_path: Path) -> None:
    target = target_named(name)
    declare(daily=DAILY)
    target.sync()
    edit(name, tmp_path)
    declare(daily=Cron("0 6 * * *"), hourly=HOURLY)
    assert kinds(target, adopt=True) == [("change", "daily"), ("add", "hourly")]
    assert kinds(target) == []


def test_what_is_not_ours_is_left_byte_by_byte(name: str, tmp_path: Path) -> None:
    target = target_named(name)
    before = put_foreign(name, tmp_path)
    declare(daily=DAILY)
    target.sync()
    assert FOREIGN[name].encode() in contents(tmp_path)[NAME_OF_FOREIGN[name]]
    declare()
    assert kinds(target) == [("remove", "daily")]
    after = contents(tmp_path)
    # A line needs an end before ours can follow it.
    assert {file: text.rstrip(b"\n") for file, text in after.items()} == {
        file: text.rstrip(b"\n") for file, text in before.items()
    }


def test_another_project_at_the_same_place_is_left_alone(name: str, tmp_path: Path, settings: Any) -> None:
    declare(daily=DAILY)
    target_named(name).sync()
    settings.TASKYARD = {**settings.TASKYARD, "SCHEDULE_OWNER": "blog"}
    other = target_named(name)
    declare(hourly=HOURLY)
    assert kinds(other) == [("add", "hourly")]
    declare()
    assert kinds(other) == [("remove", "hourly")]
    settings.TASKYARD = {**settings.TASKYARD, "SCHEDULE_OWNER": "shop"}
    declare(daily=DAILY)
    assert target_named(name).compare() == []


def test_what_somebody_else_holds_is_a_conflict(tmp_path: Path) -> None:
    files = {"kubernetes": "shop-daily.json", "systemd": "taskyard-shop-daily.service"}
    for name, file in files.items():
        (tmp_path / file).write_text("{}")
        declare(daily=DAILY)
        [change] = target_named(name).sync()
        assert (change.kind, change.reason) == ("conflict", f"{Path(file).stem!r} is there and not ours")
        assert (tmp_path / file).read_text() == "{}"


def test_what_cannot_be_said_is_refused_and_the_rest_is_written(name: str, tmp_path: Path) -> None:
    target = target_named(name)
    declare(daily=DAILY, odd=DAILY)
    target.sync()
    declare(daily=DAILY, odd=Every(dt.timedelta(minutes=7)), second=DAILY)
    assert kinds(target) == [("refuse", "odd"), ("add", "second"), ("remove", "odd")]
    assert [(change.kind, change.name) for change in target.compare()] == [("refuse", "odd")]
    assert all("odd" not in file and b" odd" not in text for file, text in contents(tmp_path).items())


def test_a_half_written_block_is_left_as_it_is(tmp_path: Path) -> None:
    declare(daily=DAILY)
    target_named("crontab").sync()
    file = tmp_path / "crontab"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    left = file.read_bytes()
    with pytest.raises(DamagedTarget, match="must stand there once each"):
        target_named("crontab").sync()
    assert file.read_bytes() == left


def test_a_line_put_into_the_block_is_kept_below_it(tmp_path: Path) -> None:
    declare(daily=DAILY)
    target_named("crontab").sync()
    file = tmp_path / "crontab"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(["# first", *lines[:1], "1 1 * * * theirs", *lines[1:], "# last\xff"]) + "\n")
    declare(hourly=HOURLY)
    target_named("crontab").sync()
    written = file.read_text().splitlines()
    assert (written[0], written[-2:]) == ("# first", ["1 1 * * * theirs", "# last\xff"])
    assert "1 1 * * * theirs" not in written[:-2]


def test_permissions_links_and_odd_bytes_survive(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"# \xff\xfe\n")
    real.chmod(0o600)
    (tmp_path / "crontab").symlink_to(real)
    declare(daily=DAILY)
    target_named("crontab").sync()
    assert (tmp_path / "crontab").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert real.read_bytes().startswith(b"# \xff\xfe\n# >>> taskyard shop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crontab", "real"]


def test_a_disabled_line_is_drift_too(tmp_path: Path) -> None:
    declare(daily=DAILY)
    target_named("crontab").sync()
    file = tmp_path / "crontab"
    file.write_text(file.read_text().replace("\n0 3", "\n#0 3"))
    [change] = target_named("crontab").sync()
    assert change.kind == "revert"
    assert "\n0 3" in file.read_text()


def test_a_folder_or_a_file_that_cannot_be_written_says_so(settings: Any, tmp_path: Path) -> None:
    declare(daily=DAILY)
    path = str(tmp_path / "nowhere" / "crontab")
    settings.TASKYARD = {"SCHEDULE_TARGETS": {"crontab": {"path": path}, "systemd": {"path": path}, "kubernetes": {}}}
    with pytest.raises(DamagedTarget, match="cannot be written"):
        target_named("crontab").sync()
    with pytest.raises(DamagedTarget, match="there is no such folder"):
        target_named("systemd").sync()
    with pytest.raises(ConfigurationError, match="SCHEDULE_OWNER must be set"):
        target_named("kubernetes")


def command(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = cli.run(["schedules", *words], prog="taskyard", has_project=True, screen=Screen(out, err))
    return code, out.getvalue(), err.getvalue()


def test_the_command_says_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    declare(daily=DAILY, once=At(dt.datetime(2030, 1, 1, tzinfo=dt.UTC)))
    before = contents(tmp_path)
    code, out, _ = command("sync", "--backend=crontab", "--dry-run")
    assert (code, contents(tmp_path)) == (1, before)
    assert "add      daily  (new)" in out
    assert "refuse   once  (it runs once, at 2030-01-01 00:00 UTC" in out
    code, out, err = command("sync", "--backend=crontab", "--json")
    assert code == 1
    assert [(one["kind"], one["name"]) for one in json.loads(out)] == [("add", "daily"), ("refuse", "once")]
    assert "Now load it: crontab " in err
    declare(daily=DAILY)
    assert command("diff", "--backend=crontab")[:2] == (0, "Nothing to do: everything is as the code says.\n")
    assert command("sync", "--backend=crontab") == (0, "Nothing to do: everything is as the code says.\n", "")
    declare(daily=Cron("0 4 * * *"))
    assert "schedule: '0 3 * * *' -> '0 4 * * *'" in command("diff", "--backend=crontab")[1]
    assert "There is no target 'cron'" in command("sync", "--backend=cron")[2]


def test_what_belongs_there_can_be_printed_and_piped(name: str, tmp_path: Path) -> None:
    declare(daily=DAILY, odd=Every(dt.timedelta(minutes=7)))
    before = contents(tmp_path)
    code, out, err = command("sync", f"--backend={name}", "--print")
    assert (code, contents(tmp_path)) == (1, before)
    assert err.startswith("refuse   odd  (")
    declare(daily=DAILY)
    target_named(name).sync()
    for text in contents(tmp_path).values():
        # The crontab's own lines are between two marks.
        assert text.decode().removeprefix("# >>> taskyard shop\n").removesuffix("# <<< taskyard shop\n") in out


def test_the_name_it_had_before_still_works() -> None:
    declare(daily=DAILY)
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("sync_schedules", "--backend=celery", "--dry-run", stdout=out)
    assert raised.value.returncode == 1
    assert not Schedule.objects.exists()
    call_command("sync_schedules", "--backend=celery", "--json", stdout=(out := io.StringIO()))
    assert [one["kind"] for one in json.loads(out.getvalue())] == ["add"]
    assert Schedule.objects.get().origin == "code"
    call_command("sync_schedules", stdout=(out := io.StringIO()))
    assert "Nothing to do" in out.getvalue()
    with pytest.raises(CommandError, match="There is no target 'cron'"):
        call_command("sync_schedules", "--backend=cron")


def of_crontab(folder: Path) -> list[str]:
    line = (folder / "crontab").read_text().splitlines()[2]
    return shlex.split(line.split(None, 5)[5].replace(r"\%", "%"))[-4:]


def of_cronjob(folder: Path) -> list[str]:
    [file] = folder.glob("*.json")
    pod = json.loads(file.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    minutes = int(dt.datetime.now(dt.UTC).timestamp()) // 3600 * 60
    return [word.replace("$(TASKYARD_JOB_NAME)", f"shop-it-{minutes}") for word in pod["containers"][0]["args"]]


def of_service(folder: Path) -> list[str]:
    [file] = folder.glob("*.service")
    [line] = [line for line in file.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))[-4:]


@pytest.mark.parametrize(
    ("name", "words"), [("crontab", of_crontab), ("kubernetes", of_cronjob), ("systemd", of_service)]
)
def test_what_a_clock_calls_enqueues_once(name: str, words: Callable[[Path], list[str]], tmp_path: Path) -> None:
    schedule = '50% of $HOME\'s "it"'
    declare(**{schedule: HOURLY})
    target_named(name).sync()
    called = words(tmp_path)
    assert called[:2] == ["schedules", "run"]
    code, out, _ = command(*called[1:])
    assert (code, out) == (0, f"Job {Job.objects.get().id}.\n")
    assert command(*called[1:]) == (0, "Nothing is due that is not decided already.\n", "")
    assert command("list")[1].split()[-1] == "UTC"
    assert Job.objects.count() == 1


def test_a_job_that_a_person_made_of_a_cronjob_runs_at_once() -> None:
    declare(daily=DAILY)
    code, out, _ = command("run", "--due=job:by-ada", "daily")
    assert (code, out) == (0, f"Job {Job.objects.get().id}.\n")
    Job.objects.all().delete()
    code, out, _ = command("run", "--due=job:purge-20261121", "daily")
    assert (code, out) == (0, f"Job {Job.objects.get().id}.\n")


def test_a_clock_that_calls_for_nothing_known_fails() -> None:
    code, _, err = command("run", "--due=now", "gone")
    assert code == 1
    assert "declares no schedule 'gone'. If it was dropped, sync the target that still calls for it." in err
    for when, says in ("soon", "is no time"), ("2026-01-01T00:00", "must say its time zone"):
        with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", said := io.StringIO())
            command("run", f"--due={when}", "gone")
        assert says in said.getvalue()
