"""Reading Caffe's text and weight files."""
