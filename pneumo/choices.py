"""The choices and defaults that a command's arguments share with the code behind them."""

CHECKPOINTS = ("best", "last")
DATA_SETS = ("kermany", "folder", "medmnist", "rsna")
DEVICES = ("auto", "cpu", "cuda")
METHODS = ("gradcam", "layercam", "occlusion", "integrated")  # of heat maps
# Of a clinic's images, stated and not measured; the 73 % of the data set are no clinic's
PREVALENCES = (0.05, 0.1, 0.2, 0.4)
SENSITIVITY = 0.95  # required on the validation split: a missed pneumonia is the worse error
