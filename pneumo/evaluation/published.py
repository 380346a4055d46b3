"""The figures of the paper and of the networks that it compares itself with."""

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
class Peer:
    """A row of the paper's comparison table: accuracy in [0, 1], and its networks' sizes.

    One size for an ensemble whose members all run (their sum), several where the row names several
    networks and the paper does not say which one the accuracy belongs to.
    """

    name: str
    networks: str
    accuracy: float
    parameters: tuple[float, ...]
    multiply_adds: tuple[float, ...]
    at_least: bool = False  # multiply_adds leaves a member out


# Sizes: num_params and GFLOPS of torchvision's weight tables (torchvision 0.2x, 1,000 classes, at
# 224 px; 299 px for InceptionV3), Xception's from keras.io/api/applications, which gives no
# multiply-adds. The paper prints none of them. Left out: Sirazitdinov (another data set), and
# Hamoldi (95.72 %, network not named).
PEERS = (
    Peer("Ayan", "VGG16, Xception", 0.87, (138_357_544, 22_910_480), (15.47e9,)),
    Peer(
        "Hashmi",
        "ResNet18 + Xception + InceptionV3 + DenseNet121 + MobileNetV3",
        0.9843,
        (11_689_512 + 22_910_480 + 27_161_264 + 7_978_856 + 5_483_032,),
        (1.814e9 + 5.713e9 + 2.834e9 + 0.217e9,),
        at_least=True,
    ),
    Peer(
        "Rahman",
        "AlexNet, ResNet18, DenseNet201, SqueezeNet",
        0.98,
        (61_100_840, 11_689_512, 20_013_928, 1_248_424),
        (0.714e9, 1.814e9, 4.291e9, 0.819e9),
    ),
)
