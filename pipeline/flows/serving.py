"""The process that `serve-flows` starts: it waits for runs and starts each in one of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from prefect.runner import Runner
from prefect.schedules import Cron

from pipeline.flows.backfill import backfill
from pipeline.flows.retrain import retrain
from pipeline.flows.train import train

NIGHTLY = "nightly"  # as in prefect.yaml
DEPLOYED = (f"retrain/{NIGHTLY}", "train/manual", "backfill/manual")


class Server(Runner):
    """Prefect's own, whose way to end at SIGTERM awaits nothing and shows a traceback."""

    def handle_sigterm(self, *_: Any) -> None:
        """End as Ctrl-C does."""
        signal.raise_signal(signal.SIGINT)


def main(cron: str, timezone: str, tag: str) -> None:
    """Serve the flows from this folder until interrupted."""
    schedule = Cron(cron, timezone=timezone, slug=NIGHTLY)
    ours: dict[str, Any] = {"concurrency_limit": 1, "tags": [tag]}
    deployments: list[Any] = [  # typed as coroutines, which they are in async code only
        retrain.to_deployment(name=NIGHTLY, schedules=[schedule], **ours),
        train.to_deployment(name="manual", **ours),
        backfill.to_deployment(name="manual", **ours),
    ]
    server = Server(limit=1, pause_on_shutdown=False)
    for deployment in deployments:
        server.add_deployment(deployment)
    # who started this may have it ignore interrupts; asyncio then would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(server.start())


if __name__ == "__main__":
    main(*sys.argv[1:])
