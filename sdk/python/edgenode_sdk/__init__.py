"""The laptop side of edgenode: find nodes, submit jobs, and get receipts that are verified here.

from edgenode_sdk import Fleet

with Fleet.discover() as fleet:
    job = fleet.submit({"module": "statistics", "type": "ops", "channels": ["host/*"], "window": {"last": "60s"}})
    for result in job.receipts():
        print(result.node.name, result.summary)
"""

from edgenode_sdk.fleet import AsyncFleet, FleetNode, Submission
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result
from edgenode_sdk.spec import JobSpec, Nodes
from edgenode_sdk.sync import Fleet, Handle

__all__ = ["AsyncFleet", "Fleet", "FleetNode", "Handle", "Home", "JobSpec", "Nodes", "Result", "Submission"]
