"""When something is due: values and pure rules, without rows and without a clock."""

from taskyard.schedules.recurrence.bounds import Bounds, bounds_from_json, offset_in
from taskyard.schedules.recurrence.calendars import Calendar, calendar_from_json
from taskyard.schedules.recurrence.cron import Cron
from taskyard.schedules.recurrence.due import MOST, Due, Recurrence
from taskyard.schedules.recurrence.every import At, Every
from taskyard.schedules.recurrence.gap import shortest_gap
from taskyard.schedules.recurrence.stored import recurrence_from_json
from taskyard.schedules.recurrence.words import explain

__all__ = [
    "MOST",
    "At",
    "Bounds",
    "Calendar",
    "Cron",
    "Due",
    "Every",
    "Recurrence",
    "bounds_from_json",
    "calendar_from_json",
    "explain",
    "offset_in",
    "recurrence_from_json",
    "shortest_gap",
]
