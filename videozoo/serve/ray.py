"""The server as a deployment of Ray Serve, for more than one machine.

serve run videozoo.serve.ray:app models=tsm=/models/tsm token=SECRET replicas=4
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, field_validator

from videozoo.errors import ConfigError, require
from videozoo.loading import open_network
from videozoo.serve.app import create_app
from videozoo.serve.service import Service
from videozoo.serve.settings import Limits, Settings

__all__ = ["Options", "app"]

# Ray reads the type of `app`'s argument, so annotations are not postponed here.


class Options(BaseModel):
    """The arguments of the deployment, as in `args` of a Serve config file; limits are per request."""

    model_config = ConfigDict(extra="forbid")

    models: dict[str, str] = Field(min_length=1, description='By name the places, or one text "NAME=PATH,...".')
    token: str | None = None
    root: Path | None = None
    device: str = "auto"
    replicas: int = Field(1, ge=1)
    cpus: float = Field(2, gt=0, description="Cores that Ray sets aside for a replica.")
    gpus: float = Field(0, ge=0)
    workers: int = Field(8, ge=1)
    queue: int = Field(32, ge=0, description="Of each replica.")
    batch: int = Field(8, ge=1)
    max_size_mb: float = Field(512, gt=0)
    max_duration_s: float = Field(3600, gt=0)
    max_pixels: int = Field(4096 * 2304, ge=1)
    timeout_s: float = Field(60, gt=0)

    @field_validator("models", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Returns the mapping that `NAME=PATH,NAME=PATH` stands for."""
        if not isinstance(value, str):
            return value
        pairs = [text.partition("=") for text in value.split(",")]
        if not all(name and path for name, _, path in pairs):
            raise ValueError(f"'{value}' is not NAME=PATH,NAME=PATH; write e.g. tsm=/models/tsm")
        return {name: path for name, _, path in pairs}

    def settings(self) -> Settings:
        """Returns the settings of each replica."""
        limits = Limits(round(self.max_size_mb * 1e6), self.max_duration_s, self.max_pixels, self.timeout_s)
        return Settings(limits, self.root, self.token, self.workers, self.queue, self.batch)


def app(args: Options) -> Any:
    """Returns the application for `serve run` and Serve config files; each replica opens the models.

    Raises:
        ConfigError: an option is out of range.
        MissingPackageError: ray is not installed.
    """
    serve = require("ray.serve", extra="scale", purpose="serve on Ray")
    args.settings()  # checks them here, not in the replicas
    if args.root is not None and not args.root.is_absolute():
        raise ConfigError(f"root: {args.root} is not an absolute path; every machine must find it")

    def replica() -> FastAPI:  # Ray runs it on the machine of each replica
        networks = {name: open_network(place, device=args.device) for name, place in args.models.items()}
        return create_app(Service(networks, args.settings()), closes=True)

    deployment = serve.deployment(
        serve.ingress(replica)(),
        name="videozoo",
        num_replicas=args.replicas,
        max_ongoing_requests=2 * (args.workers + args.queue),  # the replica itself refuses what is too much
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus},
    )
    return deployment.bind()
