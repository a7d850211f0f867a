// The families of layer types. registry.cpp joins them; a new family adds a line here and one
// there.
#pragma once

#include <vector>

#include "graph/layer.h"

namespace pcc {

std::vector<LayerType> convolution_layers();  // convolution.cpp
std::vector<LayerType> vision_layers();       // vision.cpp
std::vector<LayerType> norm_layers();         // norm.cpp
std::vector<LayerType> common_layers();       // common.cpp
std::vector<LayerType> activation_layers();   // activation.cpp
std::vector<LayerType> shape_layers();        // shape.cpp
std::vector<LayerType> select_layers();       // select.cpp
std::vector<LayerType> recurrent_layers();    // recurrent.cpp
std::vector<LayerType> loss_layers();         // loss.cpp
std::vector<LayerType> more_loss_layers();    // more_losses.cpp
std::vector<LayerType> detection_layers();    // detection.cpp
std::vector<LayerType> prior_box_layers();    // prior_box.cpp
std::vector<LayerType> ssd_layers();          // ssd.cpp
std::vector<LayerType> data_layers();         // data.cpp

}  // namespace pcc
