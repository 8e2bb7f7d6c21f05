import pytest

from estiva.oci import units

MAX = (1 << 63) - 1
ENDLESS = "9" * 5000


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("6291456", 6291456),
        ("64b", 64),
        ("64 B", 64),
        ("64m", 64 << 20),
        (" 64M ", 64 << 20),
        ("64 mb", 64 << 20),
        ("1GiB", 1 << 30),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("5.k", 5120),
        ("2t", 2 << 40),
        ("8191p", 8191 << 50),
        ("0.3k", 307),
        (str(MAX), MAX),
        ("0" * 5000 + "1k", 1024),
        ("1." + "5" * 5000 + "k", 1592),
        ("0.1p", (1 << 50) // 10),
    ],
)
def test_sizes(text, count):
    assert units.size(text) == count


@pytest.mark.parametrize(
    ("text", "count"), [("1k", 1000), ("1.5m", 1_500_000), ("2GiB", 2 * 10**9), ("7", 7)]
)
def test_sizes_by_thousands(text, count):
    assert units.size(text, 1000) == count


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "m", "1x", "1kk", "1bb", "1ibm", "1ib", "1e9", "-1", "+1", "1..2", "1.2.3", "0x10", "1_0",
     "٣m", "1m٣", "1  m", "m1", "1k1", "nan", "inf", "\0", "1\n2", "\udcff"],
)  # fmt: skip
def test_words_that_are_no_size(text):
    with pytest.raises(ValueError, match="^invalid size: '"):
        units.size(text)


@pytest.mark.parametrize("text", ["8192p", str(MAX + 1), "18446744073709551616", ENDLESS, ENDLESS + ".5g"])
def test_sizes_that_would_wrap(text):
    with pytest.raises(ValueError, match="^it is too large$"):
        units.size(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("10s", 10 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 10**9),
        ("100ms", 10**8),
        ("1us1µs1μs1ns", 3001),
        ("1m1m", 120 * 10**9),
        ("0.1s", 100_000_000),
        ("1.0000000000000000000000000000000000000001s", 10**9),
        ("0" * 5000 + "1s", 10**9),
        ("1ns" * 5000, 5000),
    ],
)
def test_durations(text, nanoseconds):
    assert units.duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "00", "1.5", "s", ".s", "1..5s", "1x", "1s5", "-1s", "+1s", " 1s", "1s ", "1 s", "1S", "1d",
     "1e3s", "٣s", "nan", "1h\n", ENDLESS],
)  # fmt: skip
def test_words_that_are_no_duration(text):
    with pytest.raises(ValueError, match="^invalid duration: '"):
        units.duration(text)


@pytest.mark.parametrize("text", [ENDLESS + "s", "9223372036854775808ns", "2562048h", "2562047h" + "1h"])
def test_durations_beyond_292_years(text):
    with pytest.raises(ValueError, match="^it is too large$"):
        units.duration(text)
    assert units.duration("9223372036854775807ns") == MAX


def test_days_are_taken_where_they_are_asked_for():
    assert units.duration("7d12h", days=True) == (7 * 24 + 12) * 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "nano"), [("1.5", 1_500_000_000), ("0", 0), ("2", 2 * 10**9), (".000000001", 1), ("1.50" + "0" * 5000, 1_500_000_000)]
)  # fmt: skip
def test_cpus(text, nano):
    assert units.nano_cpus(text) == nano


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "failed to parse x as a decimal number"),
        ("", "failed to parse  as a decimal number"),
        (".", "failed to parse"),
        ("nan", "failed to parse"),
        ("1 ", "failed to parse"),
        ("1.2.3", "failed to parse"),
        ("-1", "failed to parse"),
        ("٣", "failed to parse"),
        ("0.0000000001", "value is too precise"),
        ("1." + ENDLESS, "value is too precise"),
        (ENDLESS, "it is too large"),
        ("99999999999", "it is too large"),
    ],
)
def test_words_that_are_no_cpus(text, why):
    with pytest.raises(ValueError, match=why):
        units.nano_cpus(text)


@pytest.mark.parametrize("read", [units.size, units.duration, units.nano_cpus])
def test_what_is_told_is_short_and_printable(read):
    for text in (f"\x1b{ENDLESS}\x1b", "x" * 100_000):
        with pytest.raises(ValueError) as caught:
            read(text)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200
