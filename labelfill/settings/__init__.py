"""Settings: frozen dataclasses, checked when made; TOML file < environment < flag.

To add a setting, add a field with `setting(default, help, bounds)` to its section; a command offers
it as a flag by naming it.
"""

from labelfill.settings._fields import FieldType, Settings, field_type, flag_name, gone_flags, setting
from labelfill.settings._presets import PRESETS, Labels, Preset, Switch
from labelfill.settings._resolution import read_toml, resolve, template, to_toml
from labelfill.settings._sections import (
    SECTIONS,
    Backend,
    BestBy,
    FinalModelSettings,
    ImputeSettings,
    KeypointModelSettings,
    Method,
    PredictSettings,
    ReviewSettings,
    RunSettings,
    TableSettings,
)

__all__ = [
    "PRESETS",
    "SECTIONS",
    "Backend",
    "BestBy",
    "FieldType",
    "FinalModelSettings",
    "ImputeSettings",
    "KeypointModelSettings",
    "Labels",
    "Method",
    "PredictSettings",
    "Preset",
    "ReviewSettings",
    "RunSettings",
    "Settings",
    "Switch",
    "TableSettings",
    "field_type",
    "flag_name",
    "gone_flags",
    "read_toml",
    "resolve",
    "setting",
    "template",
    "to_toml",
]
