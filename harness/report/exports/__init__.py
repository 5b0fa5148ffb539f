"""A run in the formats of other tools: one small module each, from summaries, queries and manifests to text.

Nothing else depends on them. They write no files; the verb does. What is not known is left out.
"""
