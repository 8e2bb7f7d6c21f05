"""The pictures are what tools/pictures.py draws, and the house in them is the one that test_imports.py guards."""

import importlib.util
import pathlib
import sys
import xml.etree.ElementTree as tree

import pytest

CHECKOUT = pathlib.Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def load(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    before = list(sys.path)
    yield load(CHECKOUT / "tools/pictures.py")
    sys.path[:] = before


@pytest.fixture(scope="module")
def house():
    return load(CHECKOUT / "tests/unit/house/test_imports.py")


def test_the_committed_pictures_are_those_of_the_script(tool):
    drawn = tool.pictures()
    assert {path.stem for path in tool.PICTURES.iterdir()} == set(drawn)
    stale = [name for name, text in drawn.items() if (tool.PICTURES / f"{name}.svg").read_text() != text]
    assert not stale, "run tools/pictures.py"


@pytest.mark.parametrize("theme", ["", "light", "dark"])
def test_every_picture_is_svg_that_says_what_it_shows(tool, theme):
    for text in tool.pictures(theme).values():
        top = tree.fromstring(text)
        assert (
            top.tag == f"{SVG}svg" and top.find(f"{SVG}title").text and len(top.find(f"{SVG}desc").text) > 40
        )
        assert ("prefers-color-scheme" in text) == (not theme)


def test_every_top_level_folder_is_a_floor(tool, house):
    folders = {name.partition(".")[0] for name in house.RULES if name} - house.BASE
    assert {*tool.FLOORS, tool.BOOT} == folders
    assert set(tool.BASE.split()) == house.BASE


def test_every_arrow_points_downwards_to_what_may_be_imported(tool, house):
    for user, target, *_ in tool.ARROWS:
        assert tool.FLOORS[user][1] < tool.FLOORS[target][1]
        rows = [row for row in house.RULES if house.covers(user, row)]
        allowed = {name.partition(".")[0] for row in rows for name in house.RULES[row]}
        assert target in allowed, f"{user} may not import {target}"


def test_whoever_may_import_stands_above(tool, house):
    """Along the arrows every folder reaches all that it may import."""
    below = {name: {target for user, target, *_ in tool.ARROWS if user == name} for name in tool.FLOORS}
    for _ in tool.FLOORS:
        for name, reached in below.items():
            below[name] = reached.union(*(below[target] for target in reached))
    for name, reached in below.items():
        rows = [row for row in house.RULES if house.covers(name, row)]
        allowed = (
            {target.partition(".")[0] for row in rows for target in house.RULES[row]} - {name} - house.BASE
        )
        assert allowed <= reached, f"no way from {name} to {allowed - reached}"


def test_the_rooms_exist(tool):
    for name, (*_, rooms) in tool.FLOORS.items():
        for room in rooms.split():
            assert (CHECKOUT / "src/estiva" / name / room).is_dir(), f"{name}/{room}"


def overlapping(boxes):
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]:
                yield one, other


@pytest.mark.parametrize("name", ["house", "life", "speed", "starts", "transfers", "registry"])
def test_no_text_runs_into_another_or_over_the_edge(tool, name):
    """By a wide font's measure: what a reader has may be narrower."""
    top = tree.fromstring(tool.pictures()[name])
    boxes = []
    for text in top.iter(f"{SVG}text"):
        kinds = text.get("class").split()
        size = 11.5 if "small" in kinds else 12 if "note" in kinds else 16 if "title" in kinds else 13
        long = len(text.text) * 0.62 * size if "mono" in kinds else tool.width(text.text, size)
        x, y = float(text.get("x")), float(text.get("y"))
        x -= {"middle": long / 2, "end": long}.get(text.get("text-anchor"), 0)
        boxes.append((x, y - 0.75 * size, x + long, y + 0.2 * size, text.text))
        assert x >= 8 and x + long <= tool.WIDTH - 8, text.text
    assert not list(overlapping(boxes))
