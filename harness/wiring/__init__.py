"""Puts concrete things behind the interfaces. The only place that names them."""
