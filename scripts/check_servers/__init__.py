"""The parts of scripts/check_servers.py."""
