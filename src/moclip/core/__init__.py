"""Ground: files, digests, tensors, numerics, images, and the frame of a job."""
