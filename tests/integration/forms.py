"""What a page of forms would send, read from its HTML as a browser reads it."""

from html.parser import HTMLParser
from typing import Any

Sent = dict[str, list[str]]


class _Form(HTMLParser):
    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.form_id, self.is_in, self.sent = form_id, False, Sent()
        self._open = ""
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: "" if value is None else value for name, value in attrs}
        if tag == "form":
            self.is_in = given.get("id") == self.form_id
        if not self.is_in:
            return
        if tag in ("select", "textarea"):
            self._open, self._text = given["name"], [] if tag == "textarea" else None
        if tag == "option" and self._open and ("selected" in given or self._open not in self.sent):
            # Where none is selected, a browser takes the first.
            self.sent[self._open] = [given["value"]]
        if tag == "input" and given.get("type") not in ("submit", None):
            is_box = given["type"] in ("checkbox", "radio")
            if not is_box or "checked" in given:
                self._add(given["name"], given.get("value", "on" if is_box else ""))

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self.is_in and self._text is not None:
            # The first line break is not part of it.
            self._add(self._open, "".join(self._text).removeprefix("\r\n").removeprefix("\n"))
        if tag in ("select", "textarea"):
            self._open, self._text = "", None
        if tag == "form":
            self.is_in = False

    def _add(self, name: str, value: str) -> None:
        self.sent.setdefault(name, []).append(value)


def sent_by(html: str, form_id: str, **typed: Any) -> Sent:
    """What the form of that id sends after some of its fields were typed anew; None: the field is left out."""
    form = _Form(form_id)
    form.feed(html)
    sent = form.sent | {name: value if isinstance(value, list) else [value] for name, value in typed.items()}
    return {name: values for name, values in sent.items() if values != [None]}
