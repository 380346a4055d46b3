"""Choices and defaults of arguments and settings, which the code behind them uses, too."""

CHECKPOINTS = ("best", "last")
DATA_SETS = ("kermany", "folder", "medmnist", "nih", "rsna")
DEVICES = ("auto", "cpu", "cuda")
# Decision rules: PNEUMONIA from 0.5 on; from 0.5 of the probability for equal classes; from the
# threshold that SENSITIVITY fixes on the validation split
ARGMAX, BALANCED, AT_SENSITIVITY = RULES = ("argmax", "balanced", "sensitivity")
METHODS = ("gradcam", "layercam", "occlusion", "integrated")  # of heat maps
# Of a clinic's images, assumed and not measured; the data set has 73 %, unlike any clinic
PREVALENCES = (0.05, 0.1, 0.2, 0.4)
SENSITIVITY = 0.95  # required on the validation split: a missed pneumonia is the worse error
