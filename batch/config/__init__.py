"""config.yaml and the environment -> every setting, checked before anything is done with it."""

from batch.config.loading import PREFIX, SECRETS, ConfigError, load_config, shipped_text
from batch.config.settings import (
    ArtifactSettings,
    CheckSettings,
    Config,
    FilterSettings,
    ScheduleSettings,
)

__all__ = [
    "PREFIX",
    "SECRETS",
    "ArtifactSettings",
    "CheckSettings",
    "Config",
    "ConfigError",
    "FilterSettings",
    "ScheduleSettings",
    "load_config",
    "shipped_text",
]
