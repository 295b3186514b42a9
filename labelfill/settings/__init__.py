"""Settings: frozen dataclasses, checked when made; TOML file < environment < flag.

To add a setting, add a field with `setting(default, help, bounds)` to its section; a command offers
it as a flag by naming it.
"""

from labelfill.settings._fields import NUMBERS as NUMBERS
from labelfill.settings._fields import Settings as Settings
from labelfill.settings._fields import field_types as field_types
from labelfill.settings._fields import flag_name as flag_name
from labelfill.settings._fields import gone_flags as gone_flags
from labelfill.settings._presets import PRESETS as PRESETS
from labelfill.settings._presets import Labels as Labels
from labelfill.settings._presets import Preset as Preset
from labelfill.settings._presets import Refine as Refine
from labelfill.settings._presets import Switch as Switch
from labelfill.settings._resolution import read_toml as read_toml
from labelfill.settings._resolution import resolve as resolve
from labelfill.settings._resolution import template as template
from labelfill.settings._resolution import to_toml as to_toml
from labelfill.settings._sections import SECTIONS as SECTIONS
from labelfill.settings._sections import Backend as Backend
from labelfill.settings._sections import Coordinates as Coordinates
from labelfill.settings._sections import FinalModelSettings as FinalModelSettings
from labelfill.settings._sections import ImputeSettings as ImputeSettings
from labelfill.settings._sections import KeypointModelSettings as KeypointModelSettings
from labelfill.settings._sections import Method as Method
from labelfill.settings._sections import PredictSettings as PredictSettings
from labelfill.settings._sections import ReviewSettings as ReviewSettings
from labelfill.settings._sections import RunSettings as RunSettings
from labelfill.settings._sections import TableSettings as TableSettings
