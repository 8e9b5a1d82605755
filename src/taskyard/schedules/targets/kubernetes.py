"""Kubernetes: a CronJob for each schedule, as a file of its own in a folder that is applied to the cluster."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from taskyard.schedules.decisions import ON_TIME, CatchUp, Overlap
from taskyard.schedules.definitions.definition import Declaration, Definition
from taskyard.schedules.recurrence import Cron
from taskyard.schedules.target import Change, Found, Item, Standing, Target, slug
from taskyard.schedules.targets.dialect import five_fields, refuse_differences, refuse_window
from taskyard.schedules.targets.files import files_in, read_text, remove, replace_text

#: A job's name is the CronJob's and eleven characters more, and ends at 63.
_LONGEST_NAME = 52
_OWNER, _SCHEDULE, _SEAL = "taskyard-owner", "taskyard-schedule", "taskyard-seal"
#: What becomes of a call while the container of the one before has not ended. That container only enqueues.
_CONCURRENCY = {
    Overlap.SKIP: "Forbid", Overlap.REPLACE_PENDING: "Forbid", Overlap.CANCEL_RUNNING: "Replace",
    Overlap.ALLOW: "Allow", Overlap.BUFFER_ONE: "Allow", Overlap.BUFFER_ALL: "Allow",
}  # fmt: skip
#: How the container knows for which due time it was started: its job's name ends with it.
_JOB_NAME = {
    "name": "TASKYARD_JOB_NAME",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """``SCHEDULE_TARGETS["kubernetes"]``."""

    #: The folder; each CronJob is a file in it.
    path: str = ""
    #: The image that the project's workers run.
    image: str = ""
    namespace: str = ""
    #: What starts Taskyard in it.
    command: Sequence[str] = ("python", "-m", "taskyard")
    #: More of the container (``env``, ``envFrom``, ``resources``) and of the pod (``serviceAccountName``), as
    #: Kubernetes has them.
    container: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pod: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("path", "image"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        if not self.command:
            raise ValueError("command must have a word at least")
        if "containers" in self.pod or "image" in self.container:
            raise ValueError("the image is given as image, and the one container's further fields as container")


class Kubernetes(Target):
    """Manifests of ``batch/v1`` as JSON, which is YAML, for Kubernetes 1.27 and later (time zones).

    Whose they are is a label of each, so ``kubectl apply --prune -l`` takes what was dropped off the cluster too. The
    container enqueues what is due and ends; workers run it.
    """

    name: ClassVar[str] = "kubernetes"
    shares: ClassVar[bool] = True
    Options: ClassVar[type] = KubernetesOptions
    options: KubernetesOptions

    def translate(self, declaration: Declaration) -> Item:
        """The manifest without its marks, by paths such as ``spec.schedule``."""
        definition = declaration.definition
        refuse_window(self.name, definition)
        expression, zone = five_fields(self.name, definition.recurrence, days="either")
        # Its controller looks for times that clocks show: none in a gap, two in a repeated hour.
        said = Cron(expression, timezone=zone, gap="skip", fold="both")
        refuse_differences(self.name, definition.recurrence, said=said, since=self.since)
        key = slug(f"{self.owner}-{declaration.name}", _LONGEST_NAME)
        manifest: dict[str, Any] = {
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": key} | ({"namespace": self.options.namespace} if self.options.namespace else {}),
            "spec": {
                "schedule": expression, "timeZone": "Etc/UTC" if zone == "UTC" else zone,
                **_rules(definition), "jobTemplate": self._job(declaration.name),
            },
        }  # fmt: skip
        if definition.description:
            manifest["metadata"]["annotations"] = {"description": definition.description}
        return Item(declaration.name, key, dict(_flat(json.loads(json.dumps(manifest)))))

    def _job(self, name: str) -> dict[str, Any]:
        env = [_JOB_NAME, *self.options.container.get("env", ())]
        container = {
            "name": "taskyard", "image": self.options.image, **self.options.container, "env": env,
            "command": [*self.options.command],
            "args": ["schedules", "run", "--due=job:$(TASKYARD_JOB_NAME)", _literal(name)],
        }  # fmt: skip
        pod = {"restartPolicy": "Never", **self.options.pod, "containers": [container]}
        return {"spec": {"backoffLimit": 3, "ttlSecondsAfterFinished": 3600, "template": {"spec": pod}}}

    def read(self) -> Found:
        """The manifests of the folder; a file without our label is somebody else's."""
        owned: dict[str, Standing] = {}
        foreign: set[str] = set()
        for path in files_in(self.options.path, "*.json"):
            manifest = _manifest(path)
            standing = _standing(manifest, self.owner) if manifest else None
            if standing is None or standing.item.key != path.stem:
                foreign.add(path.stem)
            else:
                owned[path.stem] = standing
        return Found(owned, frozenset(foreign))

    def apply(self, changes: Sequence[Change]) -> None:
        """Write and remove files, one by one; a run that was stopped in between is completed by the next."""
        for change in changes:
            path = Path(self.options.path) / f"{change.key}.json"
            if change.item is None:
                remove(path)
            else:
                replace_text(path, before=read_text(path), after=self._text(change.item))

    def shown(self, item: Item) -> str:
        """The manifest, as one document of several."""
        return f"---\n{self._text(item)}"

    def _text(self, item: Item) -> str:
        return json.dumps(self._marked(item), indent=2, ensure_ascii=False) + "\n"

    def _marked(self, item: Item) -> dict[str, Any]:
        manifest = _unflat(item.fields)
        metadata = manifest["metadata"]
        metadata["labels"] = {"app.kubernetes.io/managed-by": "taskyard", _OWNER: self.owner}
        metadata["annotations"] = {_SCHEDULE: item.name, _SEAL: item.seal, **metadata.get("annotations", {})}
        return manifest

    def hint(self) -> str:
        """How the cluster follows."""
        label = f"{_OWNER}={self.owner}"
        return f"Now apply it: kubectl apply --prune -l {label} -f {shlex.quote(self.options.path)}"


def _rules(definition: Definition) -> dict[str, Any]:
    """A call that is later than this is not made; what is made late goes by the schedule's own rule."""
    deadline = definition.catch_up_window
    if definition.catch_up == CatchUp.NONE:
        deadline = ON_TIME
    rules: dict[str, Any] = {"concurrencyPolicy": _CONCURRENCY[definition.overlap]}
    if deadline is not None:
        # Ten seconds are the controller's own step: with less it may never start one.
        rules["startingDeadlineSeconds"] = max(60, int(deadline.total_seconds()))
    return rules


def _literal(text: str) -> str:
    """As an argument in which Kubernetes replaces nothing."""
    return text.replace("$(", "$$(")


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(read_text(path))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) else None


def _standing(manifest: dict[str, Any], owner: str) -> Standing | None:
    """One of ours without its marks; None if it is not ours."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or (metadata.get("labels") or {}).get(_OWNER) != owner:
        return None
    marks = metadata.get("annotations") or {}
    rest = {name: value for name, value in marks.items() if name not in (_SCHEDULE, _SEAL)}
    without = {name: value for name, value in metadata.items() if name not in ("labels", "annotations")}
    plain = {**manifest, "metadata": without | ({"annotations": rest} if rest else {})}
    key = str(metadata.get("name", ""))
    return Standing(Item(marks.get(_SCHEDULE, key), key, dict(_flat(plain))), marks.get(_SEAL, ""))


def _flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables as paths; one that holds names of the user's own, such as annotations, is a value."""
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(inner, Mapping) and inner and all(key.isidentifier() for key in inner) and name != "annotations":
            yield from _flat(inner, where)
        else:
            yield where, inner


def _unflat(fields: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for path, value in fields.items():
        *tables, name = path.split(".")
        table = whole
        for each in tables:
            table = table.setdefault(each, {})
        table[name] = value
    return whole
