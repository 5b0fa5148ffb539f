"""Statistics: ratios, their decomposition, intervals and plans. Pure: numbers in, numbers out."""
