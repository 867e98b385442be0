"""Schedules that people ask for most, ready to install and then to edit."""

from shared.contracts.monitoring import MonitoringRequest
from shared.contracts.schedules import ScheduleIn, Threshold
from shared.contracts.training import RunKind, TrainingRequest

_RETRAIN = TrainingRequest(kind=RunKind.REWARD_EMBEDDING)

PRESETS: dict[str, ScheduleIn] = {
    "daily": ScheduleIn(cron="0 2 * * *", run=_RETRAIN),
    "six-hourly": ScheduleIn(
        cron="0 */6 * * *", threshold=Threshold(samples=500, in_total=True), run=_RETRAIN
    ),
    "any-task": ScheduleIn(threshold=Threshold(samples=100, any_task=True), run=_RETRAIN),
    "every-1000": ScheduleIn(threshold=Threshold(samples=1000), run=_RETRAIN),
    "weekly": ScheduleIn(cron="0 1 * * 0", run=_RETRAIN),
    "monthly": ScheduleIn(cron="0 3 1 * *", run=_RETRAIN),
    "monitoring": ScheduleIn(cron="0 * * * *", monitoring=MonitoringRequest()),
}
