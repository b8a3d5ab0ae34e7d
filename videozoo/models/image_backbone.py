"""Two-dimensional backbones from timm."""

from __future__ import annotations

import contextlib
import difflib
import math
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import timm
from huggingface_hub import constants
from timm.models.resnet import ResNet
from torch import Tensor, nn

from videozoo.errors import ConfigError, WeightsError
from videozoo.shapes import Float

__all__ = ["Pretrained", "image_backbone", "image_maps", "project_first"]

Pretrained = Literal["imagenet"] | None
CONNECT_S = 1.5


def image_backbone(name: str, *, pretrained: Pretrained = None, args: Mapping[str, Any] | None = None) -> nn.Module:
    """Returns the timm model `name` without its classifier: images `[n c h w]` to pooled features `[n num_features]`.

    `args` are passed to timm unchanged, e.g. `{"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128]}` for a narrow
    ResNet.

    Raises:
        ConfigError: timm has no such model, or the model does not accept these arguments.
        WeightsError: the pretrained weights cannot be fetched.
    """
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise ConfigError(f"backbone: timm has no model '{name}'; {hint}")
    try:
        backbone = timm.create_model(name, num_classes=0, **dict(args or {}))
    except (TypeError, ValueError, AssertionError, LookupError, RuntimeError) as error:
        raise ConfigError(f"backbone_args: {error}; see the arguments of timm's '{name}'") from error
    if pretrained == "imagenet":
        _load_pretrained(backbone, name)
    return backbone


def image_maps(backbone: nn.Module, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ _ _"]:
    """Returns the last feature maps `[n c h w]` of a timm network for images `[n c h w]`, before pooling.

    Transformer tokens are arranged on their grid; class and register tokens are dropped.

    Raises:
        ConfigError: the network's features do not form a grid.
    """
    net: Any = backbone
    maps: Any = net.forward_features(images)
    if isinstance(maps, Tensor) and maps.ndim == 4:
        return maps.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "NCHW") == "NHWC" else maps
    if isinstance(maps, Tensor) and maps.ndim == 3:
        tokens = maps[:, getattr(net, "num_prefix_tokens", 0) :]
        grid = _grid(tokens.shape[1], images.shape[-2:])
        if grid is not None:
            return tokens.transpose(1, 2).unflatten(2, grid)
    raise ConfigError(f"backbone: {type(net).__name__} has no feature maps on one grid; take e.g. resnet50")


def _grid(num_tokens: int, size: tuple[int, ...]) -> tuple[int, int] | None:
    """Returns the rows and columns of square patches in an image of `size` (height, width); None if none fit."""
    height, width = size
    rows = round(math.sqrt(num_tokens * height / width))
    return (rows, num_tokens // rows) if rows and num_tokens % rows == 0 else None


def project_first(backbone: nn.Module, *, name: str) -> None:
    """Adds a projection shortcut with stride 1 to the first block of a ResNet-D, like the first blocks of later stages.

    Raises:
        ConfigError: the backbone is not a ResNet.
    """
    if not isinstance(backbone, ResNet):
        raise ConfigError(
            f"backbone: '{name}' is not a ResNet; its first shortcut cannot get a convolution, take e.g. resnet50d"
        )
    block: Any = backbone.get_submodule("layer1.0")
    if block.downsample is None:
        channels = block.conv1.in_channels
        norm = nn.BatchNorm2d(channels)
        block.downsample = nn.Sequential(nn.Identity(), nn.Conv2d(channels, channels, 1, bias=False), norm)


def _load_pretrained(backbone: nn.Module, name: str) -> None:
    # timm's own filter adapts a file to the model: position sizes, names of other versions
    fit = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    with _from_cache_if_offline() as is_offline:
        try:
            timm.models.load_pretrained(backbone, num_classes=0, filter_fn=fit)
        except Exception as error:  # timm, huggingface_hub and the network raise unrelated classes
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
            reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1])  # torch lists the tensors below
            if is_offline and type(error).__module__.startswith("huggingface_hub"):
                reason = f"they are not in the cache, and {constants.ENDPOINT} cannot be reached"
            raise WeightsError(
                f"backbone '{name}': no ImageNet weights ({type(error).__name__}: {reason}); connect to the "
                "network, copy the file to the Hugging Face cache (HF_HOME), or add model.pretrained=null"
            ) from error


@contextlib.contextmanager
def _from_cache_if_offline() -> Iterator[bool]:
    """Restricts huggingface_hub to its cache if its server does not answer; otherwise it retries for a minute."""
    is_offline = bool(constants.HF_HUB_OFFLINE) or not _answers(constants.ENDPOINT)
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, is_offline
    try:
        yield is_offline
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(url: str) -> bool:
    """Returns whether the server of `url`, or its proxy, accepts connections within `CONNECT_S`."""
    place = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(place.scheme)
    if proxy and not urllib.request.proxy_bypass(place.hostname or ""):
        place = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    address = (place.hostname or "", place.port or (443 if place.scheme == "https" else 80))
    found: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, CONNECT_S):
            found.append(True)

    thread = threading.Thread(target=connect, daemon=True)  # a name lookup has no timeout
    thread.start()
    thread.join(CONNECT_S)
    return bool(found)
