"""Demonstrations on scikit-learn's digits: the main job, and rollouts of three candidates."""

from __future__ import annotations

from marina.demo.main_job import run_demo
from marina.demo.rollouts import run_rollouts

__all__ = ["run_demo", "run_rollouts"]
