"""What methods are compared with, a file each as in methods/: without a model, or autoencoders, which know no noise."""
