"""``taskyard demo``: drives the project in ``demo_project`` and judges what happened."""
