"""Small datasets in the layouts that torchvision's classes read: name of a file -> its bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from cvflow.annotations.files import flo, kitti, pfm
from cvflow.annotations.image import encode_png

HEIGHT, WIDTH = 6, 9
DISPARITY = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) / 16 + 0.25
DISPARITY[0, :3] = np.nan
FLOW = np.dstack([DISPARITY, -DISPARITY])
LABELS = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3).astype(np.uint8)


def picture(number: int = 0, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(
        out, kind
    )
    return out.getvalue()


def palette(labels: np.ndarray) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette([*range(256)] * 3)
    image.save(out, "PNG")
    return out.getvalue()


def tree(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def voc() -> dict[str, bytes | str]:
    names = ["a", "b", "c", "d"]
    lists = {"train": names[:2], "val": names[2:], "trainval": names}
    files: dict[str, bytes | str] = {
        f"ImageSets/Segmentation/{k}.txt": "\n".join(v) + "\n" for k, v in lists.items()
    }
    for i, name in enumerate(names):
        labels = LABELS * 10
        labels[-1] = 255
        files |= {
            f"JPEGImages/{name}.jpg": picture(i, "JPEG"),
            f"SegmentationClass/{name}.png": palette(labels),
        }
    return {f"VOCdevkit/VOC2012/{name}": data for name, data in files.items()}


def pets() -> dict[str, bytes | str]:
    names = [f"Abyssinian_{i}" for i in range(4)] + [f"beagle_{i}" for i in range(4)]
    lines = {
        split: [f"{n} {1 + (n[0] == 'b')} {1 + (n[0] == 'b')} 1" for n in names[k::2]]
        for k, split in enumerate(("trainval", "test"))
    }
    files: dict[str, bytes | str] = {
        f"annotations/{split}.txt": "\n".join(found) for split, found in lines.items()
    }
    for i, name in enumerate(names):
        files |= {
            f"images/{name}.jpg": picture(i, "JPEG"),
            f"annotations/trimaps/{name}.png": encode_png(LABELS + 1),
        }
    return {f"oxford-iiit-pet/{name}": data for name, data in files.items()}


def cityscapes() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for i, (split, city) in enumerate(
        [("train", "ulm"), ("train", "aachen"), ("val", "bonn"), ("test", "kiel")]
    ):
        labels = np.full((HEIGHT, WIDTH), 7, np.uint8)  # road
        labels[0], labels[1] = 33, 9  # bicycle; parking, which counts for nothing
        files[f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png"] = picture(i)
        files[f"gtFine/{split}/{city}/{city}_0_gtFine_labelIds.png"] = encode_png(labels)
    return files


def kitti_flow() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for i in range(3):
        for part in ("training", "testing"):
            files |= {f"{part}/image_2/{i:06d}_{n}.png": picture(10 * i + n) for n in (10, 11)}
        files[f"training/flow_occ/{i:06d}_10.png"] = kitti.write_flow(FLOW)
    return {f"KittiFlow/{name}": data for name, data in files.items()}


def chairs() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {"FlyingChairs_train_val.txt": "1\n1\n1\n2\n"}
    for i in range(1, 5):
        files |= {f"data/{i:05d}_img{k}.ppm": picture(10 * i + k, "PPM") for k in (1, 2)}
        files[f"data/{i:05d}_flow.flo"] = flo.write(FLOW)
    return {f"FlyingChairs/{name}": data for name, data in files.items()}


def sintel() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for k, scene in enumerate(("alley_1", "cave_2")):
        files |= {f"clean/{scene}/frame_{i:04d}.png": picture(10 * k + i) for i in range(1, 4)}
        files |= {f"flow/{scene}/frame_{i:04d}.flo": flo.write(FLOW + k) for i in range(1, 3)}
    return {f"Sintel/training/{name}": data for name, data in files.items()}


def hd1k() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {f"hd1k_challenge/image_2/000000_{i}.png": picture(i) for i in (10, 11)}
    for sequence, length in enumerate((3, 2)):
        for i in range(length):
            name = f"{sequence:06d}_{i:04d}.png"
            files |= {
                f"hd1k_input/image_2/{name}": picture(10 * sequence + i),
                f"hd1k_flow_gt/flow_occ/{name}": kitti.write_flow(FLOW),
            }
    return {f"hd1k/{name}": data for name, data in files.items()}


def sintel_stereo() -> dict[str, bytes | str]:
    """Three bytes a disparity: 4 pixels, 1/64, 1/16384.

    What is hidden in the other view, or out of it, has its own maps.
    """
    unknown, known = np.isnan(DISPARITY), np.nan_to_num(DISPARITY)
    steps = np.dstack([known // 4, known % 4 * 64, 0 * known]).astype(np.uint8)
    hidden = unknown & (np.arange(WIDTH) == 0)
    files: dict[str, bytes | str] = {}
    for i, scene in enumerate(("alley_1", "cave_2", "cave_2")):
        name = f"{scene}/frame_{i:04d}.png"
        files |= {f"final_{side}/{name}": picture(10 * i + k) for k, side in enumerate(("left", "right"))}
        files |= {
            f"disparities/{name}": encode_png(steps),
            f"occlusions/{name}": encode_png(hidden * np.uint8(255)),
        }
        files[f"outofframe/{name}"] = encode_png((unknown & ~hidden) * np.uint8(255))
    return {f"Sintel/training/{name}": data for name, data in files.items()}


def kitti_stereo() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for i in range(3):
        for part in ("training", "testing"):
            files |= {f"{part}/image_{k}/{i:06d}_10.png": picture(10 * i + k) for k in (2, 3)}
        files |= {f"training/disp_occ_{k}/{i:06d}_10.png": kitti.write_disparity(DISPARITY) for k in (0, 1)}
    return {f"Kitti2015/{name}": data for name, data in files.items()}


def middlebury() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    infinite = np.where(np.isnan(DISPARITY), np.float32(np.inf), DISPARITY)
    for i, scene in enumerate(("Piano", "Pipes", "Vintage")):
        files |= {f"train/{scene}-perfect/im{k}.png": picture(10 * i + k) for k in (0, 1)}
        files |= {f"train/{scene}-perfect/disp{k}.pfm": pfm.write(infinite) for k in (0, 1)}
    return {f"Middlebury2014/{name}": data for name, data in files.items()}


def sbd() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {"train.txt": "a\nb\n", "val.txt": "c\n"}
    for i, name in enumerate("abc"):
        mat = io.BytesIO()
        savemat(mat, {"GTcls": {"Segmentation": LABELS}})
        files |= {
            f"img/{name}.jpg": picture(i, "JPEG"),
            f"cls/{name}.mat": mat.getvalue(),
            f"inst/{name}.mat": b"",
        }
    return files
