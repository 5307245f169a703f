"""Tables on stdout for people, a file per family of verbs; what programs read is JSON."""

from marina.display.archives import inspection
from marina.display.console import output
from marina.display.data import leaks, prepared, statistics
from marina.display.evaluation import evaluation
from marina.display.lab import parity
from marina.display.machine import findings
from marina.display.models import models
from marina.display.rollouts import rollout_history, rollout_status
from marina.display.runs import run_comparison, runs
from marina.display.serving import outcomes, server
from marina.display.split import split_check, splits
from marina.display.store import stored, verified
from marina.display.top import monitor
from marina.display.understanding import explanations, operations, summary

__all__ = [
    "evaluation",
    "explanations",
    "findings",
    "inspection",
    "leaks",
    "models",
    "monitor",
    "operations",
    "outcomes",
    "output",
    "parity",
    "prepared",
    "rollout_history",
    "rollout_status",
    "run_comparison",
    "runs",
    "server",
    "split_check",
    "splits",
    "statistics",
    "stored",
    "summary",
    "verified",
]
