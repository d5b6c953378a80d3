"""CrewAI: gated crews, gated tools, and flows that pause for a reviewer.

`GatedCrew(crew, gate=gate, tools=["issue_refund"]).kickoff()`
"""

from stacksona_adapters.crewai._crew import GatedCrew
from stacksona_adapters.crewai._flow import kickoff_in, pausing, runs_again
from stacksona_adapters.crewai._paused import PausedCall, PausedCrew
from stacksona_adapters.crewai._tool import GatedTool

__all__ = ["GatedCrew", "GatedTool", "PausedCall", "PausedCrew", "kickoff_in", "pausing", "runs_again"]
