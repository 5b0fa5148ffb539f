"""What others published, with its conditions, and how a run of ours stands beside it.

    assets/reference/*.csv -> PublishedRow -> ReferenceMatch, Ceiling, StarRating -> ReferenceReport

Pure but for its tables, which ship with the package. Knows records; must not know how they came about. A published
figure is never pooled with ours, and never speaks for conditions other than its own.
"""
