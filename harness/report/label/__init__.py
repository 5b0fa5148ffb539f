"""The energy label: what it says, and how it is drawn."""
