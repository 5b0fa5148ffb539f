"""The leaderboard as a page, and in the terminal."""
