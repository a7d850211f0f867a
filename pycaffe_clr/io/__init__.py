"""pycaffe's caffe.io: images as arrays, their preparation for a net, Caffe's messages as arrays.

Images are read by Pillow, which matplotlib brings along; neither skimage nor scipy is needed.
"""

from pycaffe_clr.io.arrays import (
    array_to_blobproto,
    array_to_datum,
    arraylist_to_blobprotovector_str,
    blobproto_to_array,
    blobprotovector_str_to_arraylist,
    datum_to_array,
)
from pycaffe_clr.io.images import load_image, oversample, resize_image
from pycaffe_clr.io.transformer import Transformer
from pycaffe_clr.proto import caffe_pb2  # scripts know it by this place, too

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]
