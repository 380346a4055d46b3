"""Choices and defaults of the commands' arguments, which the code behind them uses, too."""

CHECKPOINTS = ("best", "last")
DATA_SETS = ("kermany", "folder", "medmnist", "nih", "rsna")
DEVICES = ("auto", "cpu", "cuda")
METHODS = ("gradcam", "layercam", "occlusion", "integrated")  # of heat maps
# Of a clinic's images, assumed and not measured; the data set has 73 %, unlike any clinic
PREVALENCES = (0.05, 0.1, 0.2, 0.4)
SENSITIVITY = 0.95  # required on the validation split: a missed pneumonia is the worse error
