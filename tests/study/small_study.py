"""A study small enough to run in a test."""

from __future__ import annotations

from tests.integration.conftest import SMALL

SMALL_STUDY = {
    "name": "small",
    "base": "quickstart",
    "seeds": [0, 1],
    "baselines": ["dast_p"],
    "entries": [
        {"label": "dast", "method": {"trials": 5, "max_trials": 6}},
        {"label": "dast_p", "method": {"trials": 5, "max_trials": 6, "length": False}},
    ],
}
OVERRIDES = [
    *(o for o in SMALL if not o.startswith("method.")),
    "evaluation.length_probe=0",
    "evaluation.probe=0",
]
