"""What clock changes do to cron: worked out by hand from the rules of each zone.

Each row below a zone: expression, policies, from when, and the due times that follow, all in UTC; what of a date is
that of the time before it is left off. The comment above gives the change in UTC and the offsets before and after it:
taking the offset from the wall-clock time gives the due time.
"""

import datetime as dt
import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from taskyard.schedules.recurrence import Cron

Row = tuple[str, str, str, str, list[str]]

TABLE = """
# Berlin, 2027-03-28 01:00 UTC: +1 to +2, 02:00 to 03:00 is skipped.
Europe/Berlin
    30 2 * * *            -                2027-03-27 00:00  01:30, 03-28 01:00 gap, 03-29 00:30
    30 2 * * *            gap=skip         2027-03-27 00:00  01:30, 03-29 00:30
    30 2 * * *            gap=same_offset  2027-03-27 00:00  01:30, 03-28 01:30 gap, 03-29 00:30
    30 2 * * *            fold=both        2027-03-28 00:00  01:00 gap, 03-29 00:30
    0 2 * * *             -                2027-03-27 00:00  01:00, 03-28 01:00 gap, 03-29 00:00
    0 3 * * *             -                2027-03-27 00:00  02:00, 03-28 01:00, 03-29 01:00
    59 1 * * *            -                2027-03-27 00:00  00:59, 03-28 00:59, 23:59
    30 2,3 * * *          -                2027-03-28 00:00  01:00 gap, 01:30, 03-29 00:30
    30 2,3 * * *          gap=same_offset  2027-03-28 00:00  01:30, 03-29 00:30, 01:30
    0 2,3 * * *           -                2027-03-28 00:00  01:00, 03-29 00:00, 01:00
    0,15,30,45 2 * * *    -                2027-03-28 00:00  01:00 gap, 03-29 00:00
    0,15,30,45 2 * * *    gap=same_offset  2027-03-28 00:00  01:00 gap, 01:15 gap, 01:30 gap, 01:45 gap, 03-29 00:00
    */30 * * * *          -                2027-03-28 00:00  00:30, 01:00, 01:30
    */30 * * * *          gap=skip         2027-03-28 00:00  00:30, 01:00, 01:30
    */30 2 * * *          -                2027-03-28 00:00  01:00 gap, 03-29 00:00, 00:30
    0 */2 * * *           -                2027-03-27 23:00  03-28 01:00 gap, 02:00, 04:00
    0 */2 * * *           gap=skip         2027-03-27 23:00  03-28 02:00, 04:00
    30 * * * *            -                2027-03-28 00:00  00:30, 01:00 gap, 01:30
    30 * * * *            gap=skip         2027-03-28 00:00  00:30, 01:30, 02:30

# Asked in the middle of it: strictly later, and what was skipped can still be to come.
Europe/Berlin
    30 2 * * *            -                2027-03-28 00:59  01:00 gap
    30 2 * * *            -                2027-03-28 01:00  03-29 00:30
    30 2 * * *            gap=same_offset  2027-03-28 01:15  01:30 gap

# The last Sunday of March is the day of the change itself.
Europe/Berlin
    30 2 * 3 0L           -                2027-01-01 00:00  03-28 01:00 gap, 2028-03-26 01:00 gap
    30 2 * 3 SUN#4        gap=same_offset  2027-01-01 00:00  03-28 01:30 gap, 2028-03-26 01:30 gap

# Berlin, 2026-10-25 01:00 UTC: +2 to +1, 02:00 to 03:00 comes twice.
Europe/Berlin
    30 2 * * *            -                2026-10-24 00:00  00:30, 10-25 00:30 fold, 10-26 01:30
    30 2 * * *            fold=last        2026-10-24 00:00  00:30, 10-25 01:30 fold, 10-26 01:30
    30 2 * * *            fold=both        2026-10-24 00:00  00:30, 10-25 00:30 fold, 01:30 fold, 10-26 01:30
    30 2 * * *            gap=skip         2026-10-24 12:00  10-25 00:30 fold, 10-26 01:30
    0 2 * * *             -                2026-10-24 12:00  10-25 00:00 fold, 10-26 01:00
    0 3 * * *             -                2026-10-24 00:00  01:00, 10-25 02:00, 10-26 02:00
    */30 * * * *  -  2026-10-24 23:30  10-25 00:00 fold, 00:30 fold, 01:00 fold, 01:30 fold, 02:00
    */30 * * * *          fold=first       2026-10-24 23:30  10-25 00:00 fold, 00:30 fold, 02:00
    */30 * * * *          fold=last        2026-10-24 23:00  23:30, 10-25 01:00 fold, 01:30 fold, 02:00
    0 */2 * * *           -                2026-10-24 23:00  10-25 00:00 fold, 01:00 fold, 03:00
    15/30 2 * * *  -  2026-10-24 23:00  10-25 00:15 fold, 00:45 fold, 01:15 fold, 01:45 fold, 10-26 01:15
    0,30 1-3 * * *        -                2026-10-24 22:30  23:00, 23:30, 10-25 00:00 fold, 00:30 fold, 02:00, 02:30
    30 2 * * *            -                2026-10-25 00:45  10-26 01:30
    30 2 * * *            fold=last        2026-10-25 00:45  01:30 fold
    30 2 * * *            fold=both        2026-10-25 00:30  01:30 fold
    30 2 * 10 0L          fold=last        2026-01-01 00:00  10-25 01:30 fold, 2027-10-31 01:30 fold

# London: 2027-03-28 01:00 UTC, 0 to +1, 01:00 to 02:00 is skipped; 2026-10-25 01:00 UTC, +1 to 0, it comes twice.
Europe/London
    30 1 * * *            -                2027-03-27 12:00  03-28 01:00 gap, 03-29 00:30
    30 1 * * *            fold=both        2026-10-24 12:00  10-25 00:30 fold, 01:30 fold, 10-26 01:30

# Dublin the same, though its law calls winter the exception.
Europe/Dublin
    30 1 * * *            gap=same_offset  2027-03-27 12:00  03-28 01:30 gap, 03-29 00:30

# New York: 2027-03-14 07:00 UTC, -5 to -4, 02:00 to 03:00 is skipped; 2026-11-01 06:00 UTC, -4 to -5, 01:00 to
# 02:00 comes twice.
America/New_York
    30 2 * * *            -                2027-03-13 12:00  03-14 07:00 gap, 03-15 06:30
    0 2 * * 0             -                2027-03-08 00:00  03-14 07:00 gap, 03-21 06:00
    0 0 * * *             -                2027-03-13 12:00  03-14 05:00, 03-15 04:00
    30 1 * * *            -                2026-10-31 12:00  11-01 05:30 fold, 11-02 06:30
    30 1 * * *            fold=last        2026-10-31 12:00  11-01 06:30 fold, 11-02 06:30

# St. John's, half an hour beside: 2027-03-14 05:30 UTC, -3:30 to -2:30; 2026-11-01 04:30 UTC back.
America/St_Johns
    30 2 * * *            -                2027-03-13 12:00  03-14 05:30 gap, 03-15 05:00
    30 1 * * *            fold=both        2026-10-31 12:00  11-01 04:00 fold, 05:00 fold, 11-02 05:00

# Lord Howe changes by 30 minutes. 2026-10-03 15:30 UTC: +10:30 to +11, 02:00 to 02:30 is skipped.
Australia/Lord_Howe
    15 2 * * *            -                2026-10-03 00:00  15:30 gap, 10-04 15:15
    15 2 * * *            gap=skip         2026-10-03 00:00  10-04 15:15
    15 2 * * *            gap=same_offset  2026-10-03 00:00  15:45 gap, 10-04 15:15
    30 2 * * *            -                2026-10-03 00:00  15:30, 10-04 15:30
    */15 2 * * *          -                2026-10-03 00:00  15:30, 15:45, 10-04 15:00

# Back on 2027-04-03 15:00 UTC: +11 to +10:30, 01:30 to 02:00 comes twice.
Australia/Lord_Howe
    45 1 * * *            -                2027-04-03 00:00  14:45 fold, 04-04 15:15
    45 1 * * *            fold=last        2027-04-03 00:00  15:15 fold, 04-04 15:15
    15 1 * * *            fold=both        2027-04-03 00:00  14:15, 04-04 14:45
    */15 1 * * *  -  2027-04-03 13:50  14:00, 14:15, 14:30 fold, 14:45 fold, 15:00 fold, 15:15 fold, 04-04 14:30

# Sydney: 2026-10-03 16:00 UTC, +10 to +11, 02:00 to 03:00 is skipped; 2027-04-03 16:00 UTC back, it comes twice.
Australia/Sydney
    30 2 * * *            -                2026-10-03 00:00  16:00 gap, 10-04 15:30
    30 2 * * *            -                2027-04-03 00:00  15:30 fold, 04-04 16:30
    30 2 * * *            fold=last        2027-04-03 00:00  16:30 fold, 04-04 16:30

# Adelaide: the same half an hour beside. 2026-10-03 16:30 UTC, +9:30 to +10:30; 2027-04-03 16:30 UTC back.
Australia/Adelaide
    30 2 * * *            -                2026-10-03 00:00  16:30 gap, 10-04 16:00
    30 2 * * *            gap=skip         2026-10-03 00:00  10-04 16:00
    30 2 * * *            fold=both        2027-04-03 00:00  16:00 fold, 17:00 fold, 04-04 17:00

# Chatham, 45 minutes beside. 2026-09-26 14:00 UTC: +12:45 to +13:45, 02:45 to 03:45 is skipped.
Pacific/Chatham
    0 3 * * *             -                2026-09-26 00:00  14:00 gap, 09-27 13:15
    0 3 * * *             gap=same_offset  2026-09-26 00:00  14:15 gap, 09-27 13:15
    45 3 * * *            gap=skip         2026-09-26 00:00  14:00, 09-27 14:00

# Back on 2027-04-03 14:00 UTC: 02:45 to 03:45 comes twice.
Pacific/Chatham
    0 3 * * *             -                2027-04-03 00:00  13:15 fold, 04-04 14:15
    0 3 * * *             fold=last        2027-04-03 00:00  14:15 fold, 04-04 14:15
    40 2 * * *            fold=both        2027-04-03 00:00  12:55, 04-04 13:55

# Auckland: 2026-09-26 14:00 UTC, +12 to +13, 02:00 to 03:00 is skipped; 2027-04-03 14:00 UTC back.
Pacific/Auckland
    30 2 * * *            -                2026-09-26 00:00  14:00 gap, 09-27 13:30
    30 2 * * SUN          fold=last        2027-04-01 00:00  04-03 14:30 fold, 04-10 14:30

# No changes at all, with offsets of 0, 30 minutes and 45 minutes; and Kathmandu's change of 15 on 1985-12-31 18:30
# UTC.
UTC
    30 2 * * *            -                2027-03-27 12:00  03-28 02:30, 03-29 02:30
Asia/Kolkata
    30 5 * * *            -                2027-03-27 12:00  03-28 00:00, 03-29 00:00
Asia/Kathmandu
    45 5 * * *            -                2027-03-27 12:00  03-28 00:00, 03-29 00:00
    10 0 * * *            -                1985-12-31 00:00  18:30 gap, 1986-01-01 18:25

# Midnight itself is skipped: Santiago 2027-09-05 04:00 UTC, -4 to -3; back on 2027-04-04 03:00 UTC, 23:00 to 24:00
# comes twice.
America/Santiago
    0 0 * * *             -                2027-09-04 12:00  09-05 04:00 gap, 09-06 03:00
    30 23 * * *           -                2027-04-03 12:00  04-04 02:30 fold, 04-05 03:30
    30 23 * * *           fold=last        2027-04-03 12:00  04-04 03:30 fold, 04-05 03:30

# Havana: 2027-03-14 05:00 UTC, -5 to -4, 00:00 to 01:00 is skipped; 2026-11-01 05:00 UTC, -4 to -5, it comes twice.
America/Havana
    0 0 * * *             -                2027-03-13 12:00  03-14 05:00 gap, 03-15 04:00
    30 0 * * *            fold=last        2026-10-31 12:00  11-01 05:30 fold, 11-02 05:30

# Beirut 2024-03-30 22:00 UTC, +2 to +3; Cairo, which took it up again, 2024-04-25 22:00 UTC, and back on 2024-10-31
# 21:00 UTC.
Asia/Beirut
    0 0 * * *             -                2024-03-30 12:00  22:00 gap, 03-31 21:00
Africa/Cairo
    0 0 * * *             -                2024-04-25 12:00  22:00 gap, 04-26 21:00
    30 23 * * *           -                2024-10-31 00:00  20:30 fold, 11-01 21:30

# Sao Paulo: 2018-11-04 03:00 UTC, -3 to -2; back on 2019-02-17 02:00 UTC; never again.
America/Sao_Paulo
    0 0 * * *             -                2018-11-03 12:00  11-04 03:00 gap, 11-05 02:00
    30 23 * * *           -                2019-02-16 12:00  02-17 01:30 fold, 02-18 02:30
    0 0 * * *             -                2019-11-02 12:00  11-03 03:00, 11-04 03:00

# Tehran: 2022-03-21 20:30 UTC, +3:30 to +4:30; 2022-09-21 19:30 UTC back; never again.
Asia/Tehran
    30 0 * * *            -                2022-03-21 12:00  20:30 gap, 03-22 20:00
    30 23 * * *           fold=both        2022-09-21 12:00  19:00 fold, 20:00 fold, 09-22 20:00
    30 0 * * *            -                2023-03-21 12:00  21:00, 03-22 21:00

# Amman stays at +3 in October 2022, Mexico City at -6 in April 2023.
Asia/Amman
    30 0 * * *            fold=both        2022-10-27 12:00  21:30, 10-28 21:30
America/Mexico_City
    30 2 * * *            -                2023-04-01 12:00  04-02 08:30, 04-03 08:30

# Istanbul puts it off in 2015 (2015-11-08 01:00 UTC, +3 to +2, 03:00 to 04:00 comes twice) and drops it in 2016.
Europe/Istanbul
    30 3 * * *            -                2015-11-07 12:00  11-08 00:30 fold, 11-09 01:30
    30 3 * * *            fold=both        2016-10-29 12:00  10-30 00:30, 10-31 00:30

# Moscow: 2011-03-26 23:00 UTC, +3 to +4 for good; 2014-10-25 22:00 UTC, +4 to +3 for good, 01:00 to 02:00 comes
# twice.
Europe/Moscow
    30 2 * * *            -                2011-03-26 12:00  23:00 gap, 03-27 22:30
    30 1 * * *            fold=both        2014-10-25 12:00  21:30 fold, 22:30 fold, 10-26 22:30

# Volgograd 2020-12-26 22:00 UTC: +4 to +3.
Europe/Volgograd
    30 1 * * *            -                2020-12-26 12:00  21:30 fold, 12-27 22:30

# Caracas: 2007-12-09 07:00 UTC, -4 to -4:30, 02:30 to 03:00 comes twice; 2016-05-01 07:00 UTC back, it is skipped.
America/Caracas
    45 2 * * *            fold=both        2007-12-08 12:00  12-09 06:45 fold, 07:15 fold, 12-10 07:15
    45 2 * * *            -                2016-04-30 12:00  05-01 07:00 gap, 05-02 06:45

# Pyongyang: 2015-08-14 15:00 UTC, +9 to +8:30, 23:30 to 24:00 comes twice; 2018-05-04 15:00 UTC back, it is
# skipped.
Asia/Pyongyang
    45 23 * * *           fold=both        2015-08-14 12:00  14:45 fold, 15:15 fold, 08-15 15:15
    45 23 * * *           -                2018-05-04 12:00  15:00 gap, 05-05 14:45

# Almaty 2024-02-29 18:00 UTC: +6 to +5, 23:00 to 24:00 of the last day of February comes twice.
Asia/Almaty
    30 23 L 2 *           -                2024-02-29 00:00  17:30 fold, 2025-02-28 18:30

# Juba 2021-01-31 21:00 UTC: +3 to +2, the same in January.
Africa/Juba
    30 23 L * *           fold=both        2021-01-15 00:00  01-31 20:30 fold, 21:30 fold, 02-28 21:30

# Sao Tome tries +1 for a year: from 2018-01-01 01:00 UTC to 2019-01-01 01:00 UTC.
Africa/Sao_Tome
    30 1 * * *            -                2017-12-31 12:00  2018-01-01 01:00 gap, 01-02 00:30
    30 1 1 1 *            fold=last        2018-06-01 00:00  2019-01-01 01:30 fold, 2020-01-01 01:30

# Casablanca leaves summer time for Ramadan: 2024-03-10 02:00 UTC, +1 to 0; 2024-04-14 02:00 UTC back.
Africa/Casablanca
    30 2 * * *            fold=both        2024-03-09 12:00  03-10 01:30 fold, 02:30 fold, 03-11 02:30
    30 2 * * *            -                2024-04-13 12:00  04-14 02:00 gap, 04-15 01:30

# Nuuk: 2024-03-31 01:00 UTC, -2 to -1, 23:00 to 24:00 of the 30th is skipped; 2024-10-27 01:00 UTC back, on the
# 26th.
America/Nuuk
    30 23 * * *           -                2024-03-30 12:00  03-31 01:00 gap, 04-01 00:30
    30 23 * * *           -                2024-10-26 12:00  10-27 00:30 fold, 10-28 01:30

# Troll changes by two hours: 2027-03-28 01:00 UTC, 0 to +2, 01:00 to 03:00 is skipped; 2026-10-25 01:00 UTC back.
Antarctica/Troll
    30 1 * * *            -                2027-03-27 12:00  03-28 01:00 gap, 23:30
    30 1,2 * * *          gap=same_offset  2027-03-27 12:00  03-28 01:30 gap, 02:30 gap, 23:30, 03-29 00:30
    0 2 * * *             fold=both        2026-10-24 12:00  10-25 00:00 fold, 02:00 fold, 10-26 02:00

# Casey changes by three hours at one minute past midnight: 2020-10-03 16:01 UTC, +8 to +11.
Antarctica/Casey
    0 2 * * *             -                2020-10-03 12:00  16:01 gap, 10-04 15:00
    0 0 * * *             -                2020-10-03 12:00  16:00, 10-04 13:00

# Samoa has no 30 December 2011: 2011-12-30 10:00 UTC, -10 to +14.
Pacific/Apia
    0 12 * * *            -                2011-12-29 00:00  22:00, 12-30 10:00 gap, 22:00
    0 12 * * *            gap=skip         2011-12-29 00:00  22:00, 12-30 22:00
    0 12 * * *            gap=same_offset  2011-12-29 00:00  22:00, 12-30 22:00, 12-31 22:00
    0 * * * *             -                2011-12-30 08:30  09:00, 10:00, 11:00
    0 0 30 12 *           -                2011-12-01 00:00  12-30 10:00 gap, 2012-12-29 10:00
    0 12 30 12 *          gap=same_offset  2011-12-30 20:00  22:00 gap, 2012-12-29 22:00

# Nor has Tokelau (11:00 UTC, -11 to +13), nor Kwajalein 21 August 1993 (12:00 UTC, -12 to +12).
Pacific/Fakaofo
    0 12 30 12 *          -                2011-12-01 00:00  12-30 11:00 gap, 2012-12-29 23:00
Pacific/Kwajalein
    0 8 * * *             -                1993-08-20 12:00  20:00, 08-21 12:00 gap, 20:00

# Nor Kiritimati 31 December 1994 (10:00 UTC, -10 to +14).
Pacific/Kiritimati
    0 6 31 12 *           gap=skip         1994-01-01 00:00  1995-12-30 16:00, 1996-12-30 16:00

# Kwajalein has 23 hours of 30 September 1969 twice: 13:00 UTC, +11 to -12.
Pacific/Kwajalein
    0 12 * * *            fold=both        1969-09-29 12:00  09-30 01:00 fold, 10-01 00:00 fold, 10-02 00:00
    0 12 * * *            fold=last        1969-09-30 01:00  10-01 00:00 fold, 10-02 00:00
"""


def rows() -> Iterator[Row]:
    zone = ""
    for line in TABLE.splitlines():
        if line.startswith("    "):
            expression, policy, after, wanted = re.split(r" {2,}", line.strip())
            yield expression, zone, policy.strip("-"), after, list(whole(after, wanted.split(", ")))
        elif not line.startswith("#"):
            zone = line


def whole(before: str, times: list[str]) -> Iterator[str]:
    """Each with its date, which may be left off as far as it is that of the one before."""
    for time in times:
        digits = len(re.split(r" gap| fold", time)[0])
        before = before[: len("2027-03-28 01:00") - digits] + time
        yield before


ROWS = list(rows())


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def policies(text: str) -> dict[str, str]:
    return dict(one.split("=") for one in text.split())


@pytest.mark.parametrize(("expression", "zone", "policy", "after", "wanted"), ROWS)
def test_a_clock_change_does_what_its_row_says(
    expression: str, zone: str, policy: str, after: str, wanted: list[str]
) -> None:
    cron = Cron(expression, timezone=zone, **policies(policy))
    dues = cron.next(len(wanted), moment(after))
    assert [f"{due.at:%Y-%m-%d %H:%M} {due.mark}".strip() for due in dues] == wanted
    for due in dues:
        asked_for = due.nominal.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
        assert due.mark == "gap" or asked_for == due.at


def test_the_table_is_as_large_as_was_promised_and_has_each_policy_at_work() -> None:
    assert len(ROWS) >= 60
    assert len({zone for _, zone, *_ in ROWS}) >= 30
    for policy in ("gap=skip", "gap=same_offset", "fold=last", "fold=both", "fold=first"):
        assert any(policy in row[2] for row in ROWS), policy


def test_a_due_time_names_the_time_asked_for() -> None:
    skipped = Cron("30 2 * * *", timezone="Europe/Berlin").next(1, moment("2027-03-28 00:00"))
    assert [due.nominal for due in skipped] == [dt.datetime(2027, 3, 28, 2, 30)]

    repeated = Cron("30 2 * * *", timezone="Europe/Berlin", fold="both").next(2, moment("2026-10-25 00:00"))
    assert [(due.nominal, due.nominal.fold) for due in repeated] == [
        (dt.datetime(2026, 10, 25, 2, 30), 0),
        (dt.datetime(2026, 10, 25, 2, 30), 1),
    ]


def test_of_several_skipped_times_that_run_at_one_instant_the_first_is_named() -> None:
    (due,) = Cron("0,15,30 2 * * *", timezone="Europe/Berlin").next(1, moment("2027-03-28 00:00"))
    assert (due.nominal, due.mark) == (dt.datetime(2027, 3, 28, 2, 0), "gap")


def test_a_time_that_clocks_do_show_names_the_instant_it_shares_with_skipped_ones() -> None:
    (due,) = Cron("0 2,3 * * *", timezone="Europe/Berlin").next(1, moment("2027-03-28 00:00"))
    assert (due.nominal, due.mark) == (dt.datetime(2027, 3, 28, 3, 0), "")
