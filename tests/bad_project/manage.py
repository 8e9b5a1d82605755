"""A project that does everything wrong once. A comment `bad: W000` names the check that must say so, of that line."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bad.settings")
execute_from_command_line(sys.argv)
