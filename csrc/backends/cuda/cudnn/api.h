// The part of cuDNN's backend interface that is used here, declared by ourselves: the library is
// opened at run time, and nothing of it is needed to build. The numbers are those of cuDNN 9
// (cudnn_graph.h), which keeps them within a major version.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pcc::cudnn::api {

// Of cudnnStatus_t: whole thousands are kinds of errors.
constexpr int kSuccess = 0, kBadParam = 2000, kNotSupported = 3000, kInternalError = 4000;

// cudnnDataType_t
constexpr int kFloat = 0, kBfloat16 = 9;
// cudnnConvolutionMode_t: the kernel is not turned round.
constexpr int kCrossCorrelation = 1;
// cudnnPointwiseMode_t
constexpr int kAdd = 0, kReluForward = 100;
// cudnnBackendHeurMode_t: what should be fastest, and what runs nearly everything.
constexpr int kHeuristicFallback = 2, kHeuristicA = 3;

// cudnnBackendNumericalNote_t
enum class Note : int {
  tensor_core = 0,
  down_convert_inputs = 1,
  reduced_precision_reduction = 2,
  fft = 3,
  nondeterministic = 4,
  winograd = 5,
  winograd_4x4 = 6,
  winograd_6x6 = 7,
  winograd_13x13 = 8,
  strict_nan = 9,
};

// cudnnBackendAttributeType_t
enum class Type : int {
  handle = 0,
  data_type = 1,
  boolean = 2,
  int64 = 3,
  float32 = 4,
  pointer = 6,
  convolution_mode = 7,
  heuristic_mode = 8,
  knob_type = 9,
  numerical_note = 11,
  pointwise_mode = 14,
  descriptor = 15,
  character = 24,
};

// cudnnBackendDescriptorType_t
enum class Kind : int {
  pointwise = 0,
  convolution = 1,
  engine = 2,
  engine_config = 3,
  heuristic = 4,
  plan = 5,
  knob_choice = 7,
  forward = 10,
  backward_filter = 11,
  backward_data = 12,
  pointwise_operation = 13,
  graph = 15,
  variant_pack = 16,
  tensor = 17,
  device = 38,
};

// cudnnBackendAttributeName_t
enum class Name : int {
  pointwise_mode = 0,
  pointwise_compute_type = 1,
  convolution_compute_type = 100,
  convolution_mode = 101,
  convolution_dilations = 102,
  convolution_strides = 103,
  convolution_post_paddings = 104,
  convolution_pre_paddings = 105,
  convolution_spatial_dims = 106,
  heuristic_mode = 200,
  heuristic_graph = 201,
  heuristic_results = 202,
  heuristic_device = 204,
  config_engine = 300,
  config_knob_choices = 302,
  plan_handle = 400,
  plan_config = 401,
  plan_workspace = 402,
  plan_device = 407,
  knob_choice_type = 600,
  knob_choice_value = 601,
  // The three convolutions number alike: alpha, beta, convolution, then weights, x, y.
  forward = 700,
  backward_data = 706,
  backward_filter = 712,
  pointwise_descriptor = 750,
  pointwise_x = 751,
  pointwise_b = 752,
  pointwise_y = 753,
  graph_handle = 800,
  graph_operations = 801,
  tensor_alignment = 900,
  tensor_type = 901,
  tensor_dimensions = 902,
  tensor_strides = 903,
  tensor_id = 906,
  tensor_virtual = 907,
  pack_ids = 1000,
  pack_pointers = 1001,
  pack_workspace = 1003,
  engine_index = 1301,
  engine_notes = 1303,
  device_json = 2702,
};

// Enumerations of C are as wide as an int.
struct Functions {
  size_t (*version)();         // cudnnGetVersion: 91900 is 9.19.0
  size_t (*cudart_version)();  // cudnnGetCudartVersion: 13000 is CUDA 13.0
  const char* (*error_string)(int status);
  void (*last_error)(char* text, size_t size);  // this thread's, and forgets it
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, void* stream);
  int (*create_descriptor)(int kind, void** descriptor);
  int (*destroy_descriptor)(void* descriptor);
  int (*finalize)(void* descriptor);
  int (*set_attribute)(void* descriptor, int name, int type, int64_t count, const void* values);
  int (*get_attribute)(void* descriptor, int name, int type, int64_t wanted, int64_t* count,
                       void* values);
  int (*execute)(void* handle, void* plan, void* variant_pack);
};

}  // namespace pcc::cudnn::api
