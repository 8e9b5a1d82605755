"""Lists of rows that nobody edits: a page begins where the one before ended, and nothing is counted."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import Http404, HttpRequest
from django.template.loader import get_template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from taskyard.admin.verbs import actor_of
from taskyard.jobs.pages.keyset import Page, place_text
from taskyard.operations import Actor

#: Where a page begins, in its address.
AFTER = "after"


class KeysetList(ChangeList):
    """A page of what :meth:`Listed.find_page` finds."""

    page: Page[Any]

    def get_filters_params(self, params: Any = None) -> Any:
        # Whoever asks for something else begins at the beginning of that.
        self.filter_params.pop(AFTER, None)
        return super().get_filters_params(params)

    def get_ordering(self, request: Any, queryset: Any) -> list[Any]:
        """None: the rows come as they are found."""
        return []

    def get_results(self, request: Any) -> None:
        after = request.GET.get(AFTER, "")
        shown: Any = self.model_admin
        self.page = shown.find_page(request, self, after)
        self.result_list = list(self.page.rows)
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = bool(self.result_list)
        self.paginator = None
        self.is_first = not after
        self.back, self.on = shown.turning
        self.first_at = self.get_query_string()
        self.next_at = self.get_query_string({AFTER: place_text(self.page.after)}) if self.page.after else ""


class Listed(admin.ModelAdmin):  # type: ignore[type-arg]
    """An admin of rows that are read, and changed by verbs alone."""

    actions: Any = None
    change_list_template = "admin/taskyard/list.html"
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    #: The permission that shows these, and what else may stand in the address of the list.
    permission: ClassVar[str]
    #: Where the links below the list lead: to its first page, and to the next one.
    turning: ClassVar[tuple[str, str]] = ("Newest", "Older")
    asked: ClassVar[tuple[str, ...]] = ()

    class Media:
        css: ClassVar = {"all": ["taskyard/admin/schedule.css", "taskyard/admin/pages.css"]}

    def has_module_permission(self, request: HttpRequest) -> bool:
        """For the index."""
        return actor_of(request).may(self.permission)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return actor_of(request).may(self.permission)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetList

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Nothing but what the filters ask: whoever may not see arguments is not to find out by asking for them."""
        own = {each.parameter_name for each in self.list_filter}  # type: ignore[union-attr]
        return lookup in own or lookup in self.asked

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if any("\0" in value for value in request.GET.values()):
            # No database has that in a text.
            raise Http404
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def find_page(self, request: HttpRequest, shown: Any, after: str) -> Page[Any]:
        """What the list shows."""
        raise NotImplementedError

    def at(self, page: str, *args: Any) -> str:
        """The address of a page of this admin."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def context(self, request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
        """What each page of an admin needs."""
        request.current_app = self.admin_site.name
        site: Mapping[str, Any] = self.admin_site.each_context(request)
        own = {
            "opts": self.opts, "title": title, "media": self.media, "list_at": self.at("changelist"),
            "tools_in_content": has_tools_in_content(),
        }  # fmt: skip
        return {**site, **own, **more}


@functools.cache
def has_tools_in_content() -> bool:
    """Whether this Django's pages have their tools within their content, which ours write anew: 5.2 does."""
    source = get_template("admin/base.html").template.source  # type: ignore[attr-defined]
    return bool(source.find("block object-tools") > source.find("block content %"))


class Choice(admin.SimpleListFilter):
    """A filter whose value is read by :meth:`Listed.find_page`; it narrows no query by itself."""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return self.words(actor_of(request))

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        """What may be chosen."""
        return []

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset


def link(text: str, **asked: str) -> SafeString:
    """A link to the rows of a list that are so."""
    return format_html('<a href="?{}">{}</a>', urlencode(asked), text)


class Chosen(Choice):
    """The one that was chosen in the list: all of them would be too many to show."""

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        chosen = self.value()
        return [] if chosen is None else [(chosen, chosen or "none")]


class TenantFilter(Chosen):
    """The tenant that was chosen in the list."""

    title = "tenant"
    parameter_name = "tenant"

    def words(self, actor: Actor) -> list[tuple[str, str]]:
        return super().words(actor) if actor.is_for_all else []
