"""What ``jobs show`` makes of counted items."""

from taskyard.entrypoint.pages.job import _items


def test_items_are_told_in_words_and_those_that_failed_one_below_the_other() -> None:
    errors = [{"item": f"page-{number}", "error": "no text"} for number in range(12)]

    lines = _items({"succeeded": 1_200, "failed": 12, "errors": errors}).splitlines()

    assert lines[:2] == ["1,200 succeeded, 12 failed", "page-0: no text"]
    assert lines[-1] == "and 2 more; --json shows them"
    assert _items({}) == ""
