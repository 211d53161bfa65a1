"""CSV files, NumPy archives and parquet files as tables of columns."""

import sys

import numpy as np
import pytest

from dawm_jax.data.formats.csv_table import open_csv
from dawm_jax.data.formats.logs import ColumnMap, read
from dawm_jax.data.formats.npz_table import open_npz
from dawm_jax.data.formats.parquet_table import open_parquet
from dawm_jax.data.formats.tables import columns_of
from dawm_jax.errors import UserError


def csv(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode(encoding))
    return open_csv(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_csv_file_is_read_to_the_bit(tmp_path, separator, newline):
    numbers = np.random.default_rng(0).normal(size=(20, 3)) * 10.0 ** np.arange(-20, 40, 20)
    rows = ["time", "q 0", '"u"'], *[[repr(float(x)) for x in row] for row in numbers]
    text = newline.join(separator.join(row) for row in rows)
    table = csv(tmp_path, text, "utf-8-sig")
    assert table.columns == ("time", "q 0", "u")
    found = columns_of(table, ["u", "time"])
    np.testing.assert_array_equal(found["u"], numbers[:, 2])
    np.testing.assert_array_equal(found["time"], numbers[:, 0])


def test_the_columns_of_a_csv_file_have_types(tmp_path):
    table = csv(
        tmp_path, "t,n,x,s,b\n1700000000000000001,1,1.0,a,True\n1700000000000000002,2,2,b,False\n"
    )
    found = columns_of(table, table.columns)
    assert found["t"].tolist() == [1700000000000000001, 1700000000000000002]  # no float holds these
    assert [found[name].dtype.kind for name in "tnxsb"] == list("iifUU")


@pytest.mark.parametrize("cell", ["", "NA", "1.5.2", "nan"])
def test_a_cell_without_a_number_is_named(tmp_path, cell):
    table = csv(tmp_path, f"q,u,w\n1.5,0.5,x\n{cell},0.5,y\n")
    with pytest.raises(UserError, match=f"q of log.csv (holds '{cell}'|is nan) in row 1"):
        read(table, ColumnMap(("q",), ("u",)), whole=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line of .* is empty"),
        ("a,b\n", "log.csv has no rows"),
        ("1.5,2\n3,4\n", r"the first line of .* holds numbers \(1.5, 2\); the names"),
        ("a,b,a\n1,2,3\n", "several columns named 'a'"),
        ("a,b\n1,2\n3\n", "a row of .* has 1 cells, but the header has 2: 3. The file is cut"),
        ("a,b\n1,2\n3,5,4\n", "has 3 cells, but the header has 2: 3,5,4"),
        ("a\xe9,b\n1,2\n", "is not a CSV file"),
    ],
)
def test_a_csv_file_that_is_cut_or_has_no_header_is_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        columns_of(csv(tmp_path, text, "latin-1"), ["a"])


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    for opened in (open_csv, open_npz):
        with pytest.raises(UserError, match=r"does not exist|is a folder"):
            opened(tmp_path / name)


def test_a_numpy_archive_is_read_to_the_bit(tmp_path):
    arrays = {
        "q": np.random.default_rng(0).normal(size=(5, 3)),
        "u": np.arange(5, dtype=np.float32),
    }
    np.savez_compressed(tmp_path / "log.npz", **arrays)
    table = open_npz(tmp_path / "log.npz")
    assert table.columns == ("q", "u")
    for name, column in columns_of(table, ["u", "q"]).items():
        np.testing.assert_array_equal(column, arrays[name])
        assert column.dtype == arrays[name].dtype


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "log.npz", q=np.ones(2), traj=np.array([{"a": 1}, None], dtype=object))
    table = open_npz(tmp_path / "log.npz")
    assert columns_of(table, ["q"])["q"].tolist() == [1, 1]
    with pytest.raises(UserError, match=r"traj of .* holds pickled objects"):
        columns_of(table, ["traj"])


def test_other_unusable_archives_are_refused(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, a=np.ones(1000), b=np.ones(3), c=5.0, empty=np.ones(0))
    table = open_npz(path)
    with pytest.raises(UserError, match="different lengths: a 1000, b 3"):
        columns_of(table, ["a", "b"])
    with pytest.raises(UserError, match=r"c of log\.npz is one number"):
        columns_of(table, ["c"])
    with pytest.raises(UserError, match=r"log\.npz has no rows"):
        columns_of(table, ["empty"])
    with pytest.raises(UserError, match="no column d, e; it has a, b, c, empty"):
        columns_of(table, ["d", "a", "e"])
    data = path.read_bytes()
    damaged = bytearray(data)
    damaged[300] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a of .* is damaged"):
        columns_of(open_npz(path), ["a"])
    for part in (data[:2000], b"", b"version https://git-lfs"):
        path.write_bytes(part)
        with pytest.raises(UserError, match="is not a NumPy archive"):
            open_npz(path)


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="pip install pyarrow"):
        open_parquet([tmp_path / "log.parquet"])


class TestParquet:
    @pytest.fixture
    def written(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        def written(columns, name="log.parquet"):
            arrays = {name: make(pyarrow) for name, make in columns.items()}
            parquet.write_table(pyarrow.table(arrays), tmp_path / name, row_group_size=2)
            return tmp_path / name

        return written

    def test_numbers_vectors_and_text_are_read_to_the_bit(self, written):
        rows = np.random.default_rng(0).normal(size=(5, 2))
        path = written(
            {
                "list": lambda pa: pa.array(list(rows)),
                "fixed": lambda pa: pa.array(rows.tolist(), pa.list_(pa.float32(), 2)),
                "x": lambda pa: pa.array(rows[:, 0]),
                "flag": lambda pa: pa.array([True, False, False, True, False]),
                "time": lambda pa: pa.array(range(5), pa.timestamp("ms")),
                "name": lambda pa: pa.array(list("aabbc")),
                "code": lambda pa: pa.array(list("aabbc")).dictionary_encode(),
            }
        )
        table = open_parquet([path, path])
        found = columns_of(table, table.columns)
        twice = np.concatenate([rows, rows])
        np.testing.assert_array_equal(found["list"], twice)
        np.testing.assert_array_equal(found["fixed"], twice.astype(np.float32))
        np.testing.assert_array_equal(found["x"], twice[:, 0])
        assert found["flag"].tolist() == 2 * [True, False, False, True, False]
        assert found["time"].dtype.kind == "M"
        assert found["name"].tolist() == found["code"].tolist() == 2 * list("aabbc")

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (lambda pa: pa.array([1.0, None]), "has 1 missing values"),
            (lambda pa: pa.array([[1.0], None]), "has 1 missing values"),
            (lambda pa: pa.array([[1.0], [None]]), "has 1 missing values"),
            (
                lambda pa: pa.array([[1.0, 2.0, 3.0], [4.0]]),  # 4 numbers in 2 rows
                "has 3 numbers in the first row, but 1 in row 1",
            ),
            (
                lambda pa: pa.array([[[1.0]], [[2.0]]]),
                "only vectors of numbers are read, no pixels",
            ),
            (lambda pa: pa.array([{"bytes": b"png"}] * 2), "only numbers, text and vectors"),
        ],
    )
    def test_what_is_no_vector_in_each_row_is_refused(self, written, column, message):
        with pytest.raises(UserError, match=message):
            columns_of(open_parquet([written({"q": column})]), ["q"])

    def test_damaged_and_different_files_are_refused(self, written, tmp_path):
        one = written({"q": lambda pa: pa.array([1.0])})
        other = written({"p": lambda pa: pa.array([1.0])}, "other.parquet")
        with pytest.raises(UserError, match=r"other.parquet has columns p, but .* has q"):
            open_parquet([one, other])
        longer = written({"q": lambda pa: pa.array([[1.0, 2.0]])}, "longer.parquet")
        with pytest.raises(UserError, match="q has rows of different lengths"):
            columns_of(open_parquet([one, longer]), ["q"])
        for content, message in (
            (b"PAR1", "damaged"),
            (b"version https://git-lfs", "git lfs pull"),
        ):
            one.write_bytes(content)
            with pytest.raises(UserError, match=message):
                open_parquet([one])
