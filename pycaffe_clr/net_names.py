"""The names of net_spec's layers and params, for editors and checkers: nothing of it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pycaffe_clr.net_spec import Top
    from pycaffe_clr.proto import caffe_pb2


class LayerFunction(Protocol):
    """Makes a layer over the tops of others. params: its settings, by the names of prototxt files;
    ntop: how many tops; in_place: whether its top is its bottom; name: of its own."""

    def __call__(self, *inputs: Top, **params: Any) -> Any:
        """Its top, or a tuple of ntop of them; the layer itself with ntop=0."""


class LayerNames:
    """The types of layers."""

    AbsVal: LayerFunction
    Accuracy: LayerFunction
    AnnotatedData: LayerFunction
    ArgMax: LayerFunction
    Axpy: LayerFunction
    BNLL: LayerFunction
    BatchNorm: LayerFunction
    BatchReindex: LayerFunction
    Bias: LayerFunction
    Clip: LayerFunction
    Concat: LayerFunction
    ContrastiveLoss: LayerFunction
    Convolution: LayerFunction
    ConvolutionDepthwise: LayerFunction
    Crop: LayerFunction
    Data: LayerFunction
    Deconvolution: LayerFunction
    DepthwiseConvolution: LayerFunction
    DetectionEvaluate: LayerFunction
    DetectionOutput: LayerFunction
    Dropout: LayerFunction
    DummyData: LayerFunction
    ELU: LayerFunction
    Eltwise: LayerFunction
    Embed: LayerFunction
    EuclideanLoss: LayerFunction
    Exp: LayerFunction
    Filter: LayerFunction
    Flatten: LayerFunction
    HDF5Data: LayerFunction
    HDF5Output: LayerFunction
    HingeLoss: LayerFunction
    Im2col: LayerFunction
    ImageData: LayerFunction
    InfogainLoss: LayerFunction
    InnerProduct: LayerFunction
    Input: LayerFunction
    Interp: LayerFunction
    LRN: LayerFunction
    LSTM: LayerFunction
    LSTMUnit: LayerFunction
    Log: LayerFunction
    MVN: LayerFunction
    MemoryData: LayerFunction
    MultiBoxLoss: LayerFunction
    MultinomialLogisticLoss: LayerFunction
    Normalize: LayerFunction
    PReLU: LayerFunction
    Parameter: LayerFunction
    Permute: LayerFunction
    Pooling: LayerFunction
    Power: LayerFunction
    PriorBox: LayerFunction
    Proposal: LayerFunction
    Python: LayerFunction
    RNN: LayerFunction
    ROIPooling: LayerFunction
    ReLU: LayerFunction
    ReLU6: LayerFunction
    Reduction: LayerFunction
    Reshape: LayerFunction
    Resize: LayerFunction
    SPP: LayerFunction
    Scale: LayerFunction
    ShuffleChannel: LayerFunction
    Sigmoid: LayerFunction
    SigmoidCrossEntropyLoss: LayerFunction
    Silence: LayerFunction
    Slice: LayerFunction
    SmoothL1Loss: LayerFunction
    Softmax: LayerFunction
    SoftmaxWithLoss: LayerFunction
    Split: LayerFunction
    Swish: LayerFunction
    TanH: LayerFunction
    Threshold: LayerFunction
    Tile: LayerFunction
    WindowData: LayerFunction


class ParameterNames:
    """The messages of the types' settings, whose constants are in them: Pooling.MAX."""

    Accuracy: type[caffe_pb2.AccuracyParameter]
    AnnotatedData: type[caffe_pb2.AnnotatedDataParameter]
    ArgMax: type[caffe_pb2.ArgMaxParameter]
    BatchNorm: type[caffe_pb2.BatchNormParameter]
    Bias: type[caffe_pb2.BiasParameter]
    BlobResize: type[caffe_pb2.BlobResizeParameter]
    Clip: type[caffe_pb2.ClipParameter]
    Concat: type[caffe_pb2.ConcatParameter]
    ContrastiveLoss: type[caffe_pb2.ContrastiveLossParameter]
    Convolution: type[caffe_pb2.ConvolutionParameter]
    Crop: type[caffe_pb2.CropParameter]
    Data: type[caffe_pb2.DataParameter]
    DetectionEvaluate: type[caffe_pb2.DetectionEvaluateParameter]
    DetectionOutput: type[caffe_pb2.DetectionOutputParameter]
    Dropout: type[caffe_pb2.DropoutParameter]
    DummyData: type[caffe_pb2.DummyDataParameter]
    ELU: type[caffe_pb2.ELUParameter]
    Eltwise: type[caffe_pb2.EltwiseParameter]
    Embed: type[caffe_pb2.EmbedParameter]
    Exp: type[caffe_pb2.ExpParameter]
    Flatten: type[caffe_pb2.FlattenParameter]
    HDF5Data: type[caffe_pb2.HDF5DataParameter]
    HDF5Output: type[caffe_pb2.HDF5OutputParameter]
    HingeLoss: type[caffe_pb2.HingeLossParameter]
    ImageData: type[caffe_pb2.ImageDataParameter]
    InfogainLoss: type[caffe_pb2.InfogainLossParameter]
    InnerProduct: type[caffe_pb2.InnerProductParameter]
    Input: type[caffe_pb2.InputParameter]
    Interp: type[caffe_pb2.InterpParameter]
    LRN: type[caffe_pb2.LRNParameter]
    Log: type[caffe_pb2.LogParameter]
    Loss: type[caffe_pb2.LossParameter]
    MVN: type[caffe_pb2.MVNParameter]
    MemoryData: type[caffe_pb2.MemoryDataParameter]
    MultiBoxLoss: type[caffe_pb2.MultiBoxLossParameter]
    Normalize: type[caffe_pb2.NormalizeParameter]
    PReLU: type[caffe_pb2.PReLUParameter]
    Parameter: type[caffe_pb2.ParameterParameter]
    Permute: type[caffe_pb2.PermuteParameter]
    Pooling: type[caffe_pb2.PoolingParameter]
    Power: type[caffe_pb2.PowerParameter]
    PriorBox: type[caffe_pb2.PriorBoxParameter]
    Proposal: type[caffe_pb2.ProposalParameter]
    Python: type[caffe_pb2.PythonParameter]
    ROIPooling: type[caffe_pb2.ROIPoolingParameter]
    ReLU: type[caffe_pb2.ReLUParameter]
    Recurrent: type[caffe_pb2.RecurrentParameter]
    Reduction: type[caffe_pb2.ReductionParameter]
    Reshape: type[caffe_pb2.ReshapeParameter]
    SPP: type[caffe_pb2.SPPParameter]
    Scale: type[caffe_pb2.ScaleParameter]
    ShuffleChannel: type[caffe_pb2.ShuffleChannelParameter]
    Sigmoid: type[caffe_pb2.SigmoidParameter]
    Slice: type[caffe_pb2.SliceParameter]
    SmoothL1Loss: type[caffe_pb2.SmoothL1LossParameter]
    Softmax: type[caffe_pb2.SoftmaxParameter]
    Swish: type[caffe_pb2.SwishParameter]
    TanH: type[caffe_pb2.TanHParameter]
    Threshold: type[caffe_pb2.ThresholdParameter]
    Tile: type[caffe_pb2.TileParameter]
    Transformation: type[caffe_pb2.TransformationParameter]
    WindowData: type[caffe_pb2.WindowDataParameter]
