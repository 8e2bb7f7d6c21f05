"""What a notebook shows: hostile names and output are text, and little of it."""

import html.parser

from estiva.sdk import html as shown
from estiva.sdk.collections.layers import Layers
from estiva.sdk.result import Result

HOSTILE = '<script>alert(1)</script><img src=x onerror="y">&amp;\x1b[2J\u202e\0</td></table>' + "z" * 5000


class Tags(html.parser.HTMLParser):
    """The tags of a page, each with its attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


class Box:
    short_id = HOSTILE[:12]
    ports = ()
    ips = {HOSTILE: HOSTILE}

    def inspect(self):
        state = {
            "Status": "exited",
            "Running": False,
            "ExitCode": 1,
            "Health": {"Status": HOSTILE},
            "Exit": {"Meaning": HOSTILE},
        }
        return {
            "State": state,
            "Config": {"Image": HOSTILE},
            "Name": HOSTILE,
            "Path": HOSTILE,
            "Args": [HOSTILE] * 9,
        }


class Image:
    tags, short_id, size = (HOSTILE, HOSTILE), HOSTILE, 5

    def history(self):
        return [{"Size": 5, "CreatedBy": HOSTILE}] * 1000


def test_nothing_hostile_becomes_a_tag():
    layer = {
        "diff_id": HOSTILE,
        "size": 1,
        "added": 1,
        "changed": 1,
        "removed": 1,
        "wasted": 1,
        "created_by": HOSTILE,
    }
    pages = [
        shown.container(Box()),
        shown.image(Image()),
        Layers([layer])._repr_html_(),
        Result(1, HOSTILE.encode() * 1000, b"\xff\n" * 100000, True)._repr_html_(),
    ]
    for page in pages:
        found = Tags(page)
        assert {tag for tag, _ in found.tags} <= {"table", "tr", "th", "td", "pre", "b"} and not found.open
        assert all(set(attributes) <= {"style", "colspan"} for _, attributes in found.tags)
        assert len(page) < 200_000
        told = "".join(found.texts)
        assert not {"\x1b", "\u202e", "\0"} & set(told)
        assert "alert(1)" in told or "�" in told


def test_sizes_in_words():
    assert [shown.size(each) for each in (0, 999, 1000, 216 << 20, 5e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "226 MB",
        "5e+03 TB",
    ]
