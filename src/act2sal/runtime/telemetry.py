"""Nothing is ever sent: the libraries that would count how they are used are told not to, before they are loaded."""

import os

SWITCHES = {
    # onnxruntime writes a device id and queued events below the user's cache, and uploads them.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub, by which timm fetches weights where it is asked to.
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment variables, and what switches each library's telemetry off."""


def switch_off() -> None:
    """Set the switches for this process and those that it starts."""
    os.environ.update(SWITCHES)
