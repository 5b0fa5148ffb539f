"""Cells under load in words and pictures: the receipt's sections, the page's tables and charts, the loads of a run."""
