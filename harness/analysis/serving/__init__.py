"""Cells under load: the steady state, latencies, throughput, and what a query takes of energy that several share."""
