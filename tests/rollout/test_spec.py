from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from marina.errors import RolloutError
from marina.rollout.spec import read_rollout

SHIPPED = Path(__file__).parents[2] / "models" / "rollouts"


def changed(tmp_path: Path, key: str, value: object) -> Path:
    content = yaml.safe_load((SHIPPED / "resnet.yaml").read_text())
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target[int(section) if section.isdigit() else section]
    target[last] = value
    file = tmp_path / "rollout.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_shipped_rollout_loads_and_survives_its_own_yaml(file: Path, tmp_path: Path) -> None:
    spec = read_rollout(file)
    copy = tmp_path / "rollout.yaml"
    copy.write_text(spec.as_yaml())
    assert read_rollout(copy) == spec


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("candidat", "3.0", "candidat: unknown key. Did you mean candidate"),
        ("steps.1.wight", 20, r"steps.1.wight: unknown key. Did you mean weight"),
        ("gates.error_rate.max_increse", 0.1, "unknown key. Did you mean max_increase"),
        ("gates.p95_ratio", {"max_ratio": 2}, "unknown key. Did you mean p9?5?0?9?_ratio"),
        ("abort.on_brech", "pause", "unknown key. Did you mean on_breach"),
        ("candidate", 2.0, r'a version is text: write "2.0" in quotes'),
        ("candidate", "1.0", "must be two versions"),
        ("steps.0.weight", 90, "weights must not fall"),
        ("steps.0.weight", 100, "less than or equal to 99"),
        ("steps", [], "steps"),
        ("gates", {"alpha": 0.05}, "at least one gate"),
        ("gates.p50_ratio.max_ratio", 1.0, "greater than 1"),
        ("shadow", None, "shadow_agreement needs"),
        ("abort.on_breach", "shrug", "'rollback' or 'pause'"),
    ],
)
def test_a_broken_rule_names_its_key(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        read_rollout(changed(tmp_path, key, value))


def test_a_missing_file_says_where_a_shipped_one_is() -> None:
    with pytest.raises(RolloutError, match=r"no rollout at nowhere.yaml.*models/rollouts/resnet"):
        read_rollout(Path("nowhere.yaml"))


def test_alpha_is_shared_among_the_gates_and_the_split() -> None:
    gates = read_rollout(SHIPPED / "resnet.yaml").gates
    assert gates.alpha_each * 7 == pytest.approx(0.05)
    assert next(iter(gates.kept)) == "error_rate"


def test_reading_imports_no_torch() -> None:
    program = "import sys, marina.rollout.spec; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert {"torch", "torchvision", "ts"}.isdisjoint(modules)
