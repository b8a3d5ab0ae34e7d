import zipfile

import numpy as np
import pytest

from videozoo.io import npz


def test_arrays_of_both_forms(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", values=np.zeros((100, 100)))
    np.save(tmp_path / "a.npy", np.arange(3))
    with npz.load_arrays(tmp_path / "a.npz") as file:
        assert file["values"].shape == (100, 100)
    assert npz.load_arrays(tmp_path / "a.npy").tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [2, 300])
def test_zeros_without_end_are_not_unpacked(tmp_path, monkeypatch, size):
    monkeypatch.setattr(npz, "SPARE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(3):
            file.writestr(f"a{number}.npy", bytes(size << 10))
    if size == 2:
        npz.load_arrays(tmp_path / "a.npz").close()
        return
    with pytest.raises(ValueError, match=r"it unpacks to 921,600 bytes, but the file has only [\d,]+$"):
        npz.load_arrays(tmp_path / "a.npz")
