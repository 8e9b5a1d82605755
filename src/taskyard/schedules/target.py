"""What a target of schedules is: a clock elsewhere that is told when to call, and told again until it is right.

A target is only a clock. What becomes of a due time (overlap, catch-up, calendars, tenants, pauses) is decided here,
when the clock calls: :func:`taskyard.schedules.trigger.trigger`, by command or by HTTP. A call that comes twice decides
nothing twice, so a clock may call at least once. What a target must say exactly is *when*: a recurrence that its
dialect cannot say is refused with the reason, never approximated.

To write one: subclass :class:`Target` in a module of ``targets/``, name it in ``targets/__init__.py``, and give it

* ``Options``: a frozen dataclass of what ``TASKYARD["SCHEDULE_TARGETS"][name]`` may hold; ``self.options`` is one;
* ``translate(declaration)``: pure. The :class:`Item` in the target's own form; raises :class:`CannotSay` with a reason
  that ends without a full stop. ``Item.fields`` is flat JSON, and holds exactly what ``read`` gives back;
* ``read()``: a :class:`Found`: what is there and owned, by key, with the seal that ``apply`` had left, and the keys
  that others hold. Never a foreign one among the owned;
* ``apply(changes)``: writes those whose ``kind`` is ``add``, ``change``, ``revert`` (``change.item``: all of its
  fields, the owner and ``item.seal`` as its mark) and ``remove`` (``change.key``), and nothing else.

``shares = True`` for one that lives where other projects' things live (a cloud, a cluster): it works only if
``TASKYARD["SCHEDULE_OWNER"]`` is set. Comparing, drift and refusing are done here, by :func:`plan`, alike for all.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime as dt
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from django.conf import settings as django_settings
from django.utils import timezone
from django.utils.module_loading import import_string

from taskyard.errors import CannotSay, ConfigurationError, InvalidSchedule
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.targets import ALIASES, TARGETS, known_target
from taskyard.settings import OWNER, get_settings

Kind = Literal["add", "change", "revert", "adopt", "remove", "conflict", "refuse"]
#: What a sync writes; the rest it only says.
WRITTEN: frozenset[str] = frozenset({"add", "change", "revert", "remove"})
#: What stays as it is however often a sync is run: somebody has to do something.
STANDING: frozenset[str] = frozenset({"conflict", "refuse"})


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One schedule in the target's own form."""

    #: The schedule's.
    name: str
    #: What the target knows it by; unique there.
    key: str
    #: Flat JSON; compared field by field.
    fields: Mapping[str, Any]

    @property
    def seal(self) -> str:
        """Tells one form from another; stored in the mark of ownership, it shows later whether somebody edited."""
        return hashlib.sha256(json.dumps(dict(self.fields), sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """One that is there and ours, as it stands."""

    item: Item
    #: Of the form that the last sync wrote, from its mark.
    seal: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is there."""

    #: By key.
    owned: Mapping[str, Standing] = dataclasses.field(default_factory=dict)
    #: Keys that somebody else holds, among those that could be wanted.
    foreign: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One schedule that differs at the target, and what a sync does about it.

    ``add``, ``remove``; ``change``: the code has changed; ``revert``: somebody edited it there since, and the code is
    put back; ``adopt``: such a one is left until the code changes; ``conflict``: that key is somebody else's there;
    ``refuse``: the target cannot say it.
    """

    kind: Kind
    name: str
    key: str = ""
    #: By field: as it stands and as it will stand.
    fields: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    reason: str = ""
    #: What is wanted; None for what goes, and for what cannot be said.
    item: Item | None = None


class Target(abc.ABC):
    """A clock elsewhere; see the module for how one is written."""

    name: ClassVar[str]
    #: Whether it lives where other projects' things live.
    shares: ClassVar[bool] = False
    #: A frozen dataclass, a default for each field; what is wrong with a value it says by a ValueError with a sentence.
    Options: ClassVar[type]

    def __init__(self, options: Any, *, owner: str) -> None:
        self.options = options
        self.owner = owner
        #: From when on a dialect is compared with a schedule, where clocks change.
        self.since = timezone.now()

    @abc.abstractmethod
    def translate(self, declaration: Declaration) -> Item:
        """In the target's own form; raises :class:`~taskyard.errors.CannotSay`."""

    @abc.abstractmethod
    def read(self) -> Found:
        """What is there."""

    @abc.abstractmethod
    def apply(self, changes: Sequence[Change]) -> None:
        """Write what is to be written, of :data:`WRITTEN` kinds only; raises what the target raises, and may be run
        again."""

    def compare(self, *, adopt: bool = False) -> list[Change]:
        """What a sync would do."""
        return plan(self.wanted(), self.read(), adopt=adopt)

    def sync(self, *, adopt: bool = False) -> list[Change]:
        """Make the target as the code says; what was done. A second run does nothing."""
        changes = self.compare(adopt=adopt)
        if written := [change for change in changes if change.kind in WRITTEN]:
            self.apply(written)
        return changes

    def shown(self, item: Item) -> str:
        """One schedule as it is written there, for people and pipes; lines with their ends."""
        return json.dumps({"name": item.key, **item.fields}, indent=2, ensure_ascii=False) + "\n"

    def wanted(self) -> list[Item | Change]:
        """What the code says, in the target's form; what the target cannot say is a change of kind ``refuse``."""
        from taskyard.schedules.sources.code import declared

        return list(self._said(one for one in declared().values() if one.is_for(self.name)))

    def hint(self) -> str:
        """What somebody has to do after a sync that changed something; empty: nothing."""
        return ""

    def _said(self, declarations: Iterable[Declaration]) -> Iterator[Item | Change]:
        for declaration in declarations:
            try:
                yield self.translate(declaration)
            except CannotSay as error:
                yield Change("refuse", declaration.name, reason=error.reason)


def plan(wanted: Sequence[Item | Change], found: Found, *, adopt: bool = False) -> list[Change]:
    """What makes ``found`` as ``wanted`` (of which those that cannot be said are changes already).

    What is owned and no longer wanted goes, also if it is wanted and can no longer be said: it would run at times that
    the code does not say.
    """
    changes: list[Change] = []
    keys: dict[str, str] = {}
    for one in wanted:
        if isinstance(one, Change):
            changes.append(one)
        elif one.key in keys:
            reason = f"{keys[one.key]!r} would have the same name there, {one.key!r}: rename one of them"
            changes.append(Change("refuse", one.name, one.key, reason=reason))
        else:
            keys[one.key] = one.name
            changes += _change(one, found, adopt)
    gone = (there for key, there in sorted(found.owned.items()) if key not in keys)
    return changes + [Change("remove", there.item.name, there.item.key) for there in gone]


def _change(item: Item, found: Found, adopt: bool) -> Iterator[Change]:
    there = found.owned.get(item.key)
    if there is None and item.key in found.foreign:
        yield Change("conflict", item.name, item.key, reason=f"{item.key!r} is there and not ours")
    elif there is None:
        yield Change("add", item.name, item.key, {name: (None, value) for name, value in item.fields.items()}, "", item)
    elif dict(there.item.fields) != dict(item.fields):
        kind: Kind = "change" if there.seal != item.seal else "adopt" if adopt else "revert"
        yield Change(kind, item.name, item.key, _differences(there.item.fields, item.fields), "", item)
    elif there.seal != item.seal:
        yield Change("change", item.name, item.key, {"mark": (there.seal, item.seal)}, "", item)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted({*before, *after})
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def target_named(name: str) -> Target:
    """The target of a name or another name for it, with its options from the settings.

    Raises :class:`~taskyard.errors.UnknownTarget` and :class:`~taskyard.errors.ConfigurationError`.
    """
    found: type[Target] = import_string(TARGETS[known_target(name)])
    settings = get_settings()
    given = [options for key, options in settings.schedule_targets.items() if known_target(key) == found.name]
    options = {key: value for options in given for key, value in options.items()}
    if found.shares and not settings.schedule_owner:
        raise ConfigurationError([
            f"SCHEDULE_OWNER must be set for the target {found.name!r}: it is shared, and what belongs to this project"
            " and environment is told by that name, for example 'shop-production'."
        ])  # fmt: skip
    return found(_options(found, options), owner=settings.schedule_owner or _default_owner())


def _options(target: type[Target], given: Mapping[str, Any]) -> Any:
    where = f"SCHEDULE_TARGETS[{target.name!r}]"
    known = [field.name for field in dataclasses.fields(target.Options)]
    problems = [f"{where} has no option {key!r}.{_near(key, known)}" for key in given if key not in known]
    problems += [f"{where}: {problem}." for problem in _of_wrong_type(target.Options, given)]
    if not problems:
        try:
            return target.Options(**given)
        except ValueError as error:
            problems = [f"{where}: {str(error).rstrip('.')}."]
    raise ConfigurationError(problems)


def _of_wrong_type(options: type, given: Mapping[str, Any]) -> Iterator[str]:
    """An option is of the type that its default has."""
    for field in dataclasses.fields(options):
        factory = field.default_factory
        made: Any = field.default if factory is dataclasses.MISSING else factory()
        value = given.get(field.name, made)
        if isinstance(made, str) and not isinstance(value, str):
            yield f"{field.name} must be a string; it is {value!r:.100}"
        if isinstance(made, (int, dt.timedelta)) and type(value) is not type(made):
            wanted = "a whole number" if isinstance(made, int) else "a timedelta"
            yield f"{field.name} must be {wanted}; it is {value!r:.100}"
        if isinstance(made, Mapping) and not isinstance(value, Mapping):
            yield f"{field.name} must be a dict; it is {value!r:.100}"
        if isinstance(made, tuple) and not (
            isinstance(value, (list, tuple)) and all(isinstance(w, str) for w in value)
        ):
            yield f"{field.name} must be a list of strings; it is {value!r:.100}"


def _default_owner() -> str:
    module = str(getattr(django_settings, "ROOT_URLCONF", "")).partition(".")[0]
    name = re.sub(r"[^a-z0-9]+", "-", module.lower()).strip("-")[:40].strip("-")
    return name if OWNER.fullmatch(name) else "taskyard"


def slug(name: str, longest: int) -> str:
    """A name of lower-case letters, digits and dashes that begins with a letter, always the same for one name.

    A name that is such already stays as it is; of any other what can be read is kept, and a hash tells it apart.
    """
    if re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name) and len(name) <= longest:
        return name
    tail = hashlib.sha256(name.encode()).hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    stem = stem if stem[:1].isalpha() else f"s-{stem}"
    return f"{stem[: longest - len(tail) - 1].rstrip('-')}-{tail}"


def checked_targets(name: str, targets: Any) -> tuple[str, ...] | None:
    """What a declaration says of targets; raises :class:`~taskyard.errors.InvalidSchedule`."""
    if targets is None:
        return None
    if isinstance(targets, str) or not all(isinstance(one, str) for one in targets):
        raise InvalidSchedule(name, [f"targets must be a list of names of targets, or None; it is {targets!r}."])
    unknown = [one for one in targets if ALIASES.get(one, one) not in TARGETS]
    if unknown:
        raise InvalidSchedule(
            name, [f"there is no target {one!r}.{_near(one, [*TARGETS, *ALIASES])}" for one in unknown]
        )
    return tuple(sorted({known_target(one) for one in targets}))


def checked_path(name: str, path: Any) -> str:
    """What a declaration says of its HTTP path; raises :class:`~taskyard.errors.InvalidSchedule`."""
    if not path:
        return ""
    if not isinstance(path, str) or not re.fullmatch(r"(/[\w.~%!$&'()*+,;=:@-]*)+", path, re.ASCII) or len(path) > 500:
        raise InvalidSchedule(name, [f"http_path must be the path of a URL, such as '/tasks/x'; it is {path!r:.100}."])
    return path


def _near(name: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {match[0]!r}?" if match else f" There are: {', '.join(sorted(known)) or 'none'}."
