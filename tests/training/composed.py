"""What tests of the settings share: configurations of conf/, composed and resolved."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pneumo.arguments.train import CONF
from pneumo.training import hydra_cli  # noqa: F401  (registers resolvers that conf/ uses)


def composed(*overrides: str) -> dict[str, Any]:
    """Returns the plain configuration of a run in /run on the CPU."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["run_dir=/run", "trainer.accelerator=cpu", *overrides])
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return config
