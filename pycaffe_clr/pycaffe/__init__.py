"""pycaffe's interface: nets (net), solvers (solver) and module functions (settings), with their
names and meaning. `import pycaffe_clr as caffe` has them all."""
