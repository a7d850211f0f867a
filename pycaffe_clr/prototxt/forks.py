"""Names that other builds of Caffe added to the schema: so that an error can say where to look."""

_SSD = "the SSD fork (weiliu89/caffe)"
_NVIDIA = "NVIDIA's fork (NVCaffe)"
_INTEL = "Intel's fork (intel-caffe)"
_SEGNET = "SegNet's fork"
_DEEPLAB = "the DeepLab and PSPNet forks"
_SMITH = "the report's author's private build"

# Field or enum value -> the build that has it.
FORK_NAMES = {
    "video_data_param": _SSD,
    "plateau_winsize": _SSD,
    "default_forward_type": _NVIDIA,
    "default_backward_type": _NVIDIA,
    "default_forward_math": _NVIDIA,
    "default_backward_math": _NVIDIA,
    "forward_type": _NVIDIA,
    "backward_type": _NVIDIA,
    "forward_math": _NVIDIA,
    "backward_math": _NVIDIA,
    "global_grad_scale": _NVIDIA,
    "local_lr_auto": _NVIDIA,
    "rampup_interval": _NVIDIA,
    "rampup_lr": _NVIDIA,
    "min_lr": _NVIDIA,
    "store_blobs_in_old_format": _NVIDIA,
    "cudnn_convolution_algo_seeker": _NVIDIA,
    "conv_algos_override": _NVIDIA,
    "detectnet_groundtruth_param": _NVIDIA,
    "detectnet_augmentation_param": _NVIDIA,
    "cudnn_math_override": _NVIDIA,
    "random_resize_param": _INTEL,
    "compile_net_state": _INTEL,
    "quantization_param": _INTEL,
    "engine": _INTEL,
    "MKL2017": _INTEL,
    "MKLDNN": _INTEL,
    "psroi_pooling_param": "the R-FCN fork",
    "box_annotator_ohem_param": "the R-FCN fork",
    "dense_image_data_param": _SEGNET,
    "upsample_param": _SEGNET,
    "bn_param": _DEEPLAB,
    "seg_data_param": _DEEPLAB,
    "image_seg_data_param": _DEEPLAB,
    "ctc_loss_param": "the CTC forks",
    "center_loss_param": "the face recognition forks",
    "margin_inner_product_param": "the SphereFace fork",
    "decrease_weight_decay": _SMITH,
    "start_lr_policy": "the first CLR patch of Caffe (2015)",
}
