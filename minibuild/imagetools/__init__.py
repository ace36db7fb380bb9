"""Images made from images without building: edited, rebased, squashed, compared, put together.

Comes in: images of the store. Goes out: other images of the store, or what differs.
Read in this order: `edit`, then the tool of interest.
"""
