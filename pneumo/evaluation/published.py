"""Published figures: the paper's and those of the networks it compares itself with."""

from dataclasses import dataclass

# The paper's tiny (table and conclusion), medians over 5 trials on the test split at the epoch that
# was best there. Precision, recall and F1 are those of NORMAL: with 73 % PNEUMONIA no other class
# fits an accuracy of 96.5 % beside them.
TINY = {"accuracy": 0.965, "precision_normal": 0.94, "recall_normal": 0.936, "f1_normal": 0.938}
TINY_MEAN_ACCURACY = 0.9643
TINY_SD_ACCURACY = 0.0028
TINY_PARAMETERS = 115_407
TINY_MULTIPLY_ADDS = 86.6e6
ALL_F1 = 0.94  # "the median F1-Score for all of the networks is around 0.94"
NETWORKS = ("tiny", "small", "medium", "large")

# The table's last row, a detector: RetinaNet and Mask R-CNN together, on the RSNA Pneumonia
# Detection Challenge (Sirazitdinov et al., Computers & Electrical Engineering 78 (2019) 388).
SIRAZITDINOV = {"f1": 0.775, "precision": 0.758, "recall": 0.793}
SIRAZITDINOV_PATIENTS = 26_684


@dataclass(frozen=True)
class Claim:
    """A row of the paper's comparison table: the claim, its data, and whether it is comparable."""

    name: str
    networks: str  # as the paper names them
    claimed: str  # as the paper prints it
    on: str  # data, split, task, as far as the paper or the cited source reports them
    models: tuple[str, ...]  # those networks as this package names them
    comparable: str  # yes, in part or no
    why: str
    not_run: str = "not run"  # shown without runs of them


OURS = "No network (our baselines)"
CLAIMS = (
    Claim(
        "The paper",
        "tiny; small, medium, large",
        "tiny: accuracy 96.5 %, precision 94 %, recall 93.6 %, F1 93.8 %, of NORMAL; medians of 5 "
        "trials. F1 of all four around 94 %",
        "The set's 5,856 images. NORMAL or PNEUMONIA. Random 70/30 splits by patient, and the "
        "epoch that is best on the test split.",
        NETWORKS,
        "yes",
        "With protocol=paper: the same images, and the same way to split and to choose the epoch. "
        "Other protocols are stricter.",
    ),
    Claim(
        "Ayan",
        "VGG16, Xception, pretrained",
        "accuracy 87 %",
        "Chest X-rays. The paper names neither the images nor the split.",
        ("vgg16", "xception"),
        "in part",
        "Which of the two networks has the 87 %, on which images and split, is not reported.",
    ),
    Claim(
        "Hashmi",
        "ResNet18, Xception, InceptionV3, DenseNet121, MobileNetV3, weighted; pretrained",
        "accuracy 98.43 %, precision 98.26 %, recall 99.00 %, F1 98.6 %",
        "Images of this set; the split is not reported.",
        ("resnet18", "xception", "inception_v3", "densenet121", "mobilenet_v3_large"),
        "no",
        "98.43 % cannot come from the set's own 624 test images: 614 right are 98.40 %, 615 are "
        "98.56 %. Whether a patient's images lie on both sides of its split is not reported.",
    ),
    Claim(
        "Sirazitdinov",
        "RetinaNet and Mask R-CNN together",
        "F1 77.5 %, precision 75.8 %, recall 79.3 %, accuracy 0.838",
        "26,684 images of the Kaggle Pneumonia Detection Challenge (RSNA). Detection.",
        (),
        "no",
        "Another data set and another task: finding where the opacities are.",
        not_run="not run on its images; task=detection trains both",
    ),
    Claim(
        "Rahman",
        "AlexNet, ResNet18, DenseNet201, SqueezeNet, pretrained",
        "accuracy 98 %, precision 97.0 %, recall 99.0 %, F1 97.9 %",
        "5,247 images, NORMAL or PNEUMONIA (Applied Sciences 2020, 10, 3233). The split is not "
        "reported by the paper.",
        ("alexnet", "resnet18", "densenet201", "squeezenet1_1"),
        "no",
        "The set has 5,856 images: which 5,247 of them, how they were split, and which of the four "
        "networks has the 98 %, is not reported.",
    ),
    Claim(
        "Hamoldi",
        "transfer learning and a new network, not named",
        "accuracy 95.72 %",
        "The images of Rahman, according to the paper. Probably Hammoudi et al., arXiv 2004.03399.",
        (),
        "no",
        "Neither the networks nor the split are named.",
        not_run="not run: its networks are not known (experiment=hamoldi trains stand-ins)",
    ),
    Claim(
        "Not in the paper",
        "compact, EfficientNet-B0, ConvNeXt-T, DeiT-T",
        "",
        "The splits of our runs.",
        ("compact", "efficientnet_b0", "convnext_tiny", "deit_tiny"),
        "yes",
        "With our other networks, on the same splits.",
    ),
    Claim(
        OURS,
        "SVM on thumbnails, trees on the file's header, class share",
        "",
        "The splits of our runs.",
        ("thumbnail_svm", "file_header", "prior"),
        "yes",
        "With our networks, on the same splits: a network must beat these.",
    ),
)
