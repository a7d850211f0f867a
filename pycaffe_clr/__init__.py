"""A Caffe that trains with cyclical learning rates and cyclical momentum."""
