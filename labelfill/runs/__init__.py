"""Run directories: manifest, split, hashes, atomic writes and the lock.

Everything that a stage leaves behind goes through this room, so that a run killed at any moment
leaves a directory that the next command understands.
"""

from labelfill.runs._directory import RunDirectory as RunDirectory
from labelfill.runs._files import atomic_write as atomic_write
from labelfill.runs._files import is_alive as is_alive
from labelfill.runs._files import make_folder as make_folder
from labelfill.runs._files import remove_orphans_of as remove_orphans_of
from labelfill.runs._files import safe_file_name as safe_file_name
from labelfill.runs._files import sha256_file as sha256_file
from labelfill.runs._files import write_bytes as write_bytes
from labelfill.runs._manifest import RunInput as RunInput
from labelfill.runs._manifest import damaged_manifest as damaged_manifest
from labelfill.runs._manifest import json_value as json_value
from labelfill.runs._manifest import seal_of as seal_of
from labelfill.runs._manifest import versions as versions
from labelfill.runs._split import EVALUATION as EVALUATION
from labelfill.runs._split import PART_NAMES as PART_NAMES
from labelfill.runs._split import TRAINING as TRAINING
from labelfill.runs._split import VALIDATION as VALIDATION
from labelfill.runs._split import load_split as load_split
from labelfill.runs._split import make_split as make_split
from labelfill.runs._split import rows_together as rows_together
from labelfill.runs._split import save_split as save_split
