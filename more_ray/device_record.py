"""What work in a folder was begun on: it goes on on the same, whatever the cluster has by then."""

from __future__ import annotations

from more_ray import storage
from more_ray.errors import UserError
from more_ray.run_folder import DEVICE


class DeviceError(UserError):
    """Why work cannot go on on what it was begun on."""


def begun_on_gpu(folder: str, key: str, wanted: bool | None, available: bool) -> bool:
    """Whether work in `folder` uses GPUs: as it was begun, or what is `available`.

    Args:
        key: of the setting `wanted`, for errors.

    Raises:
        DeviceError: it was begun on another kind, or on GPUs that the cluster has not.
    """
    file = storage.join(folder, DEVICE)
    if not storage.exists(file):
        return available
    began = storage.read_json(file)["use_gpu"]
    if wanted not in (None, began):
        kind = "GPUs" if began else "CPUs"
        raise DeviceError(
            f"{key}: what {folder} holds was begun on {kind}; choose another folder or remove that "
            "one"
        )
    if began and not available:
        raise DeviceError(
            f"{key}: what {folder} holds was begun on GPUs, of which the cluster has too few; "
            f"{key}=true waits for them"
        )
    return began
