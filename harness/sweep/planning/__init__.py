"""What a sweep file asks for: its cells, their order, the time and joules to expect, and scripts that measure them."""
