"""Variants of one model beside each other: what a query takes in each, against the first."""
