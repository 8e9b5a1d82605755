"""The admin of the API's tokens: who has one, what it opens, when it was used last; and ending one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.pages.shown import ago, badge, named
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import names_of
from taskyard.jobs.pages.keyset import Page
from taskyard.operations import tokens
from taskyard.operations.models import ApiToken


@admin.register(ApiToken)
class TokenAdmin(Listed):
    """One page, which is the list. None is made here: a secret on a page stays in browsers and what is before them."""

    list_display = ("called", "state_now", "opens", "owner", "began", "last", "verbs")
    list_display_links = None
    search_fields = ("name",)
    search_help_text = "The part of a token that is shown, or the beginning of its name."
    permission = "view_apitoken"

    def get_queryset(self, request: HttpRequest) -> Any:
        return ApiToken.objects.none()

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        actor, text = actor_of(request), shown.query.strip()
        found: Page[Any] = tokens.page(actor, text=text, after=after, limit=self.list_per_page)
        names = names_of({each for row in found.rows for each in (row.user, row.created_by)})
        may_revoke = bool(open_verbs(request, "apitoken", ["revoke"]))
        for row in found.rows:
            row.names, row.may_revoke = names, may_revoke and row.revoked_at is None
        return found

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"title": "API tokens", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The list: a token has no page of its own."""
        answer: HttpResponse = self.changelist_view(request)
        return answer

    # -- the list -----------------------------------------------------------------------------------------------------

    @admin.display(description="token")
    def called(self, row: Any) -> SafeString:
        """Its name, and the part of it that is shown."""
        return named(row.name, row.prefix)

    @admin.display(description="state")
    def state_now(self, row: Any) -> SafeString:
        """Whether it opens anything."""
        if row.revoked_at is not None:
            return format_html("{} {}", badge("revoked"), ago(row.revoked_at))
        if row.expires_at is None:
            return badge("good")
        return format_html("{} {}", badge("good" if row.is_good(timezone.now()) else "expired"), ago(row.expires_at))

    @admin.display(description="scopes")
    def opens(self, row: Any) -> str:
        """What it may do."""
        return ", ".join(row.scopes)

    @admin.display(description="for")
    def owner(self, row: Any) -> str:
        """Whose things it is for, and in whose name it acts."""
        of = "all tenants" if row.tenant is None else row.tenant or "no tenant"
        return f"{of}, as {row.names[row.user]}" if row.user else of

    @admin.display(description="made")
    def began(self, row: Any) -> SafeString:
        """When, and by whom."""
        return format_html("{} by {}", ago(row.created_at), row.names.get(row.created_by) or "nobody")

    @admin.display(description="last used")
    def last(self, row: Any) -> SafeString | str:
        """To the minute."""
        return ago(row.last_used_at)

    @admin.display(description="")
    def verbs(self, row: Any) -> SafeString:
        """What may be done."""
        if not row.may_revoke:
            return SafeString("&nbsp;")
        return format_html('<a class="taskyard-button" href="{}">Revoke</a>', self.at("revoke", row.pk))

    # -- the verb -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """``<id>/revoke/``, before Django's own."""
        view = self.admin_site.admin_view(answered(self.revoke))
        return [path("<int:token>/revoke/", view, name="taskyard_apitoken_revoke"), *super().get_urls()]

    def revoke(self, request: HttpRequest, token: int) -> HttpResponse:
        """Ends it for good."""
        require(request, "apitoken", "revoke")
        row = tokens.find(actor_of(request), token)

        def do(said: Mapping[str, Any]) -> Done:
            was_good = tokens.revoke(actor_of(request), row.prefix, reason=said["reason"])
            says = "opens nothing any more" if was_good else "was revoked already"
            return Done(f"Token {row.name} ({row.prefix}) {says}.", self.at("changelist"))

        question = Question(
            title=f"Revoke {row.name}", button="Revoke it", back=self.at("changelist"), is_grave=True,
            form=NeededReasonForm, about=[(f"{row.name} ({row.prefix}): {', '.join(row.scopes)}", "")],
            says=["Whoever uses it is refused at once, and bulk verbs that it began end. Nothing brings it back."],
        )  # fmt: skip
        return ask(self, request, question, do)
