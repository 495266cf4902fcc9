"""The version of every extractor. Raise one when its numbers change, and its cached rows are computed again.

A contract test pins a digest of each extractor's source, so that an edit asks for a decision.
"""

MOTION_VERSION = 4  # motion vectors of a video, as stored

FRAMES_VERSION = 3  # which frames are chosen and how they are decoded

APPEARANCE_VERSION = 2  # frames to embeddings

TEXT_VERSION = 1  # prompts to class embeddings

MOTION_EMBEDDING_VERSION = 2  # motion vectors to fields to embeddings and logits of a frozen motion network

NETWORK_VERSION = 1  # the files of a trained motion network; a digest of the code covers its training

HEAD_VERSION = 1  # embeddings to a trained head
