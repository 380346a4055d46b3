"""Small networks, trained from scratch, that detect pneumonia in chest X-rays."""

import os

__version__ = "0.1.0"

# No library sends data. Each setting is read when its library is imported; a user's value is kept.
for _name, _value in {
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it checks for updates
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime leaves a device's id and reports events
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _value)
