"""From a line of the gateway's access log (`marina.gateway.access_log`) to an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from marina.gateway.access_log import status_of
from marina.rollout.collector import Answer, Arm
from marina.rollout.spec import RolloutSpec


def answer_of(line: Mapping[str, Any], spec: RolloutSpec) -> Answer | None:
    """Read a line of the access log.

    Args:
        line: One of `marina.gateway.read_log`.
        spec: Whose arms are asked for.

    Returns:
        The answer; None if it is no business of this rollout: another model, a version that the
        client or a tester chose, or an answer of the gateway's before an arm was chosen.
    """
    arms = {spec.baseline: Arm.BASELINE, spec.candidate: Arm.CANDIDATE}
    arm = arms.get(line["arm"])
    if line["model"] != spec.model or arm is None or line["kind"] not in {"split", "shadow"}:
        return None
    confidence, label = line["confidence"], line["top1"]
    return Answer(
        request_id=line["request_id"],
        at=datetime.fromisoformat(line["time"]).timestamp(),
        arm=arm,
        status=status_of(line),
        latency_ms=float(line["duration_us"] or 0) / 1000,
        label=unquote(label) if label is not None else None,
        confidence=float(confidence) if confidence is not None else None,
        mirrored=line["kind"] == "shadow",
        user=line["user"],
    )
