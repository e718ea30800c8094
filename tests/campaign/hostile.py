"""Files that are no proper input: bombs, pipes, devices, links that lead nowhere."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

WRONG = (
    ["train", "--epochs", "99999999999999999999"],
    ["train", "--seed", str(2**70)],
    ["train", "--num-particles", "100000"],
    ["train", "--data-dir", "/", "--dataset", "mnist"],
    ["train", "--out", "x" * 300],
    ["sweep", "--out", "/dev/null", "--beta", "1", "2"],
    ["evaluate", "/dev/null"],
    ["report", "/"],
    ["compare", "/proc"],
    ["sample", "absent"],
)


def hostile_inputs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Names of files that are no proper input, and commands that are given them."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for one, other in zip("abcdefgh", "bcdefghi"):
        bomb += f"{other}: &{other} [{','.join([f'*{one}'] * 9)}]\n"
    (folder / "bomb.yaml").write_text(bomb + "beta: *i\n")
    yield "YAML aliases", ["train", "--config", str(folder / "bomb.yaml")]
    (folder / "list.yaml").write_text(bomb.replace("\n", "\n", 1) + "epochs: *i\n")
    yield "YAML aliases in a sweep", ["sweep", "--config", str(folder / "list.yaml"), "--out",
                                      str(folder / "sweep")]  # fmt: skip
    lines = "".join(f"- &{o} [{','.join([f'*{n}'] * 9)}]\n" for n, o in zip("abcdefgh", "bcdefghi"))
    (folder / "top.yaml").write_text("- &a [x,x,x,x,x,x,x,x,x]\n" + lines)
    yield "YAML aliases, no table", ["train", "--config", str(folder / "top.yaml")]
    for name in ("pipe.yaml", "pipe.npy", "pipe.npz"):
        os.mkfifo(folder / name)
        flag = "--config" if name.endswith("yaml") else "--dataset"
        yield f"a pipe for {name[5:]}", ["train", flag, str(folder / name)]
    for name, flag in (("/dev/zero", "--config"), ("/dev/zero", "--dataset")):
        yield f"{name} for {flag}", ["train", flag, name]
    (folder / "zero.npy").symlink_to("/dev/zero")
    yield "a link to /dev/zero", ["train", "--dataset", str(folder / "zero.npy")]
    (folder / "loop.npy").symlink_to(folder / "loop.npy")
    yield "a link to itself", ["train", "--dataset", str(folder / "loop.npy")]
    pictures = folder / "pictures"
    pictures.mkdir()
    os.mkfifo(pictures / "a.png")
    yield "a pipe among pictures", ["train", "--dataset", str(pictures)]
    yield from _bombs(folder)
    for words in WRONG:
        yield "wrong words", words
    runs = folder / "run"
    runs.mkdir()
    for name in ("config.yaml", "summary.json", "metrics.csv"):
        os.mkfifo(runs / name)
    for command in ("report", "evaluate", "sample"):
        yield f"pipes in a run folder: {command}", [command, str(runs), *(
            ["--out", str(folder / "x.png")] if command == "sample" else [])]  # fmt: skip
    yield "pipes in a run folder: compare", ["compare", str(runs), "--out", str(folder / "c")]


MEBIBYTE = bytes(2**20)


class Zeros:
    """A compressor for deflate that packs a mebibyte of zeros once, however often it is given."""

    def __init__(self) -> None:
        self.own, once = (zlib.compressobj(9, zlib.DEFLATED, -15) for _ in range(2))
        self.block = once.compress(MEBIBYTE) + once.flush(zlib.Z_FULL_FLUSH)

    def compress(self, data: bytes) -> bytes:
        if data is MEBIBYTE:
            return self.block
        return self.own.compress(data) + self.own.flush(zlib.Z_FULL_FLUSH)

    def flush(self) -> bytes:
        return self.own.flush()


def _deflated_zeros(count: int) -> bytes:
    """So many zero bytes as zlib packs them."""
    packed, checksum = Zeros(), (count % 65521) << 16 | 1  # Adler's
    blocks = [packed.compress(bytes(count % 2**20))]
    blocks += [packed.compress(MEBIBYTE) for _ in range(count // 2**20)]
    return b"\x78\xda" + b"".join(blocks) + packed.flush() + checksum.to_bytes(4, "big")


def _bombs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (1750000, 64, 64), }"
    with (
        zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        file._compressor = Zeros()
        file.write(header + shape.ljust(117).encode() + b"\n")
        for _ in range(7000):
            file.write(MEBIBYTE)
    yield "7 GB in an npz", ["train", "--dataset", str(folder / "bomb.npz")]
    pictures = folder / "large"
    pictures.mkdir()

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    side = 60_000
    packed = _deflated_zeros(side * (side + 1))
    size = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", packed)
    for name in ("a.png", "b.png", "c.png"):
        (pictures / name).write_bytes(content + chunk(b"IEND", b""))
    yield "3.6 GB in each PNG", ["train", "--dataset", str(pictures)]
    sparse = folder / "sparse.npy"
    sparse.write_bytes(header + shape.ljust(117).encode() + b"\n")
    os.truncate(sparse, 128 + 64 * 64)
    yield "an npy that declares 7 GB and holds one image", ["train", "--dataset", str(sparse)]
