"""Many runs in one table: what may share a ranking does, and every other row says why it may not.

    run directories -> index (columns, one Parquet file) -> rankings -> generations, histories, stars -> page

Reads `summary.json` and the manifest beside it and nothing else of a run. Everything it writes can be made again.
"""

from harness.leaderboard.board import Leaderboard, build, collect

__all__ = ["Leaderboard", "build", "collect"]
