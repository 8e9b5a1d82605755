"""Where schedules of the code are carried to; what each of these keeps to is in ``schedules/target.py``."""

from __future__ import annotations

from collections.abc import Mapping

from taskyard.errors import UnknownTarget

BUILTIN = "builtin"
#: By name, where each is.
TARGETS: Mapping[str, str] = {
    BUILTIN: "taskyard.schedules.targets.builtin.Builtin",
    "crontab": "taskyard.schedules.targets.crontab.Crontab",
    "kubernetes": "taskyard.schedules.targets.kubernetes.Kubernetes",
    "systemd": "taskyard.schedules.targets.systemd.Systemd",
    "google-cloud-scheduler": "taskyard.schedules.targets.clouds.google.GoogleCloudScheduler",
    "aws-eventbridge-scheduler": "taskyard.schedules.targets.clouds.aws.AwsEventBridgeScheduler",
    "django-celery-beat": "taskyard.schedules.targets.django_celery_beat.Beat",
}
#: Other names for the same.
ALIASES: Mapping[str, str] = {
    "celery": BUILTIN,
    "beat": "django-celery-beat",
    "google": "google-cloud-scheduler",
    "aws": "aws-eventbridge-scheduler",
}


def known_target(name: str) -> str:
    """The target that a name or another name for it stands for; raises :class:`~taskyard.errors.UnknownTarget`."""
    name = ALIASES.get(name, name)
    if name not in TARGETS:
        raise UnknownTarget(name, sorted(TARGETS))
    return name
