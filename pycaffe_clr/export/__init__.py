"""Ways out: nets as ONNX files (onnx_file) and as PyTorch modules (torch_module).

Both are made from one Graph, whose nodes are ONNX's operators (graph, layers).
"""
