from labelfill.api.imputer import KeypointImputer as KeypointImputer
from labelfill.api.stages import export as export
from labelfill.api.stages import impute as impute
from labelfill.api.stages import predict as predict
from labelfill.api.stages import read_table as read_table
from labelfill.api.stages import train_final as train_final
from labelfill.api.stages import train_keypoint_models as train_keypoint_models
from labelfill.data.dataset import Dataset as Dataset
from labelfill.errors import DataError as DataError
from labelfill.errors import DeviceError as DeviceError
from labelfill.errors import LabelfillError as LabelfillError
from labelfill.errors import ModelError as ModelError
from labelfill.errors import StorageError as StorageError
from labelfill.errors import UsageError as UsageError
from labelfill.filling.stage import ImputeSummary as ImputeSummary
from labelfill.final.predict import Predictions as Predictions
from labelfill.schema import ImageSize as ImageSize
from labelfill.settings import FinalModelSettings as FinalModelSettings
from labelfill.settings import ImputeSettings as ImputeSettings
from labelfill.settings import KeypointModelSettings as KeypointModelSettings
from labelfill.settings import PredictSettings as PredictSettings
from labelfill.settings import TableSettings as TableSettings

__version__: str
