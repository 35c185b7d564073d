"""Switches off the telemetry of libraries before they are loaded, so that nothing is ever sent."""

import os

SWITCHES = {
    # onnxruntime writes a device id and queued events below the user's cache, and uploads them.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub, by which timm fetches weights where it is asked to.
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment variables and the values that switch telemetry off."""


def switch_off() -> None:
    """Set the environment variables for this process and those that it starts."""
    os.environ.update(SWITCHES)
