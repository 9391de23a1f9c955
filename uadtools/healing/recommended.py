"""What a model recommends for detection after it healed in some way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uadtools.healing.plan import Plan
from uadtools.healing.plan import plan as settle_plan
from uadtools.models.config import ModelConfig


def detection(plan: Plan, config: ModelConfig) -> dict[str, Any]:
    """What the model recommends for detection after this way of healing: the chain, the metric, its thresholds and the
    noise floors of healthy scores.
    """
    defaults = config.defaults
    thresholds, floors = (_by_sign(plan, config, table) for table in (defaults.thresholds, defaults.floors))
    chain = defaults.chain.model_dump()
    lost = without_threshold([plan], [config])
    return {
        "threshold": thresholds.get("both"), "thresholds": thresholds, "floors": floors, "metric": defaults.metric,
        "chain": chain, **({"without_threshold": lost} if lost else {}),
    }  # fmt: skip


def without_threshold(plans: Sequence[Plan], configs: Sequence[ModelConfig]) -> str:
    """Say why no threshold of the models holds for how they heal; nothing where one does, or they have none at all."""
    known = [config.name for config in configs if config.defaults.thresholds]
    if not known:
        return ""
    if len(configs) > 1:
        return f"the thresholds of {' and '.join(known)} are not for the mean of several models"
    (how,), (config,) = plans, configs
    if _by_sign(how, config, config.defaults.thresholds):
        return ""
    usual = settle_plan(config, method=how.method).arguments
    other = {name: value for name, value in how.arguments.items() if usual.get(name) != value}
    other = {"method": how.method} | other if how.method != config.defaults.method else other
    return f"the thresholds of {config.name} are not for {' '.join(map(_as_option, other.items()))}"


def _as_option(argument: tuple[str, Any]) -> str:
    name, value = argument
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    option = f"-{name}" if len(name) == 1 else f"--{name}"
    return option if value is True else f"{option} {text}"


def _by_sign(plan: Plan, config: ModelConfig, table: dict[str, float]) -> dict[str, float]:
    """What one of the model's tables has for this way of healing, by the sign of scores."""
    if not plan.as_settled(config):
        return {}
    key = plan.threshold_key
    keys = {"both": key, **{sign: f"{key} {sign}" for sign in ("dark", "bright", "hyperintense")}}
    return {sign: table[key] for sign, key in keys.items() if key in table}
