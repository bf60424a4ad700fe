"""Layers that the models are made of. Pure torch; knows nothing of streams, files or codecs."""
