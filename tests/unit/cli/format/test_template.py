"""--format: Go templates, checked against what Go's text/template prints."""

import json
import pathlib

import pytest

from estiva.cli.format.declared import shape
from estiva.cli.format.struct import Struct, labelled
from estiva.cli.format.template import Template
from estiva.errors import InvalidInput

THING = {
    "Id": "abc",
    "Names": ["/web", "/alias"],
    "State": {"Running": True, "Pid": 42, "Error": ""},
    "Config": {"Labels": {"b": "2", "a": "1"}, "Env": ["A=1", "B=2"], "Cmd": None},
    "NetworkSettings": shape(
        {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}}, "NetworkSettings"
    ),
    "Size": 1.5,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{ .Id }}-{{.State.Pid}}", "abc-42"),
        ("{{.State.Running}} {{.State.Error}}|", "true |"),
        ("{{.Names}}", "[/web /alias]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.Labels.a}} {{.Config.Labels.none}}", "1 <no value>"),
        ("{{.Config.Cmd}}", "[]"),
        ("{{json .Config}}", '{"Labels":{"b":"2","a":"1"},"Env":["A=1","B=2"],"Cmd":null}'),
        ("{{json .Names}}", '["/web","/alias"]'),
        ('{{index .Config.Labels "b"}}', "2"),
        ('{{index .Config.Labels "none"}}|', "|"),
        ("{{index .Names 1}}", "/alias"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}} {{end}}", "0=A=1 1=B=2 "),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{$p}} {{len $c}};{{end}}", "443/tcp 0;80/tcp 1;"),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{if $c}}{{$p}}{{end}}{{end}}", "80/tcp"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range .Names}}{{$.Id}}{{.}} {{end}}", "abc/web abc/alias "),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if not .State.Running}}down{{else if .State.Error}}bad{{else}}fine{{end}}", "fine"),
        ('{{if eq .State.Pid 42}}yes{{end}}{{if and .Id (ne .Id "x")}}!{{end}}', "yes!"),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ("{{with .State.Error}}{{.}}{{else}}no error{{end}}", "no error"),
        ('{{.Id | upper | printf "<%s>"}}', "<ABC>"),
        ('{{join .Names ", "}}', "/web, /alias"),
        ('{{range split "a:b" ":"}}{{title .}}{{end}}', "AB"),
        ("{{len .Names}} {{len .Id}}", "2 3"),
        ('{{println .Id "x"}}', "abc x\n"),
        ("{{if and (gt .State.Pid 0) .State.Running}}y{{end}}", "y"),
        ("{{or .Id (index .Names 9)}}{{and .State.Error (index .Names 9)}}", "abc"),  # not looked at any more
        ('{{.Id | or ""}}{{.Id | and ""}}{{and .Id 5}}', "abc5"),
        ('{{title "it\'s a_b 3rd HELLO"}} {{urlquery "a b&c"}}', "It'S A_b 3rd HELLO a+b%26c"),
        ("{{or (.State).Error .Id}} {{(.State).Pid}}", "abc 42"),
        ('{{printf "%-5s|%q|%d|%v" .Id .Id .State.Pid .Names}}', 'abc  |"abc"|42|[/web /alias]'),
        ("{{$x := .State}}{{$x.Pid}}", "42"),
        ("a {{- .Id -}} b", "aabcb"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{/* }} */}}x", "x"),
        ('{{"}}"}}{{`raw "x"`}}', '}}raw "x"'),
        ('{{.Id}}{{"\t"}}{{.State.Pid}}', "abc\t42"),
        ('{{.Id}}{{"\\t"}}{{printf "%s\n%d" .Id 4}}', "abc\tabc\n4"),
        (
            '{{printf "%x %X %8x|%-8x|%d %t" "ab" "jk" "ab" "ab" "ab" "ab"}}',
            "6162 6A6B     6162|6162    |%!d(string=ab) %!t(string=ab)",
        ),
        ("{{js `a'<b>=&é \\ \"`}} {{js 1 `\t`}}", r"""a\'\u003Cb\u003E\u003D\u0026é \\ \" 1\u0009"""),
        ('{{html `<a x="\'&"`}} {{html 1 2}}', "&lt;a x=&#34;&#39;&amp;&#34; 1 2"),
        ("{{.Size}} {{true}} {{-3}}", "1.5 true -3"),
        ('{{slice .Id 1 2}}{{pad "x" 1 1}}{{truncate .Id 2}}', "b x ab"),
        ("{{.NetworkSettings.Ports}}", "map[443/tcp:[] 80/tcp:[{0.0.0.0 8080}]]"),
    ],
)
def test_templates_print_what_go_prints(template, text):
    assert Template(template).render(THING) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Nope}}", "template: no field .Nope"),
        ("{{.State.Nope}}", "template: no field .Nope in .State"),
        ("{{.Id.Nope}}", "no field .Nope in .Id"),
        ("{{.Id", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{if .Id}}x", "{{end}} is missing"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{foo .Id}}", 'function "foo" not defined'),
        ('{{template "x"}}', "template is not supported"),
        ("{{.Id | }}", "missing value for command"),
        ("{{(index .Names 0}}", "unclosed left paren"),
        ("{{index .Names 9}}", "index out of range: 9"),
        ("{{$nope}}", 'undefined variable "$nope"'),
        ("{{.Id ! }}", "unexpected '!'"),
        ("{{range .Id}}{{end}}", "range can't iterate over abc"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if .Id}}a{{else}}b{{else}}c{{end}}", "unexpected {{else}}"),
        ('{{"a" "b"}}', "can't give an argument to what is not a function"),
        ("{{json}}", "error calling json"),
        ("{{and}}", "error calling and"),
        ("{{or}}", "error calling or"),
        ("{{:= .Id}}", "bad variable declaration"),
    ],
)
def test_a_wrong_template_is_told_in_one_line(template, message):
    with pytest.raises(InvalidInput) as caught:
        Template(template).render(THING)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_heading_shows_names_in_the_place_of_values():
    template = Template("{{.Names}}\t{{.Status}}\t{{upper .Id}}")
    assert template.heading({"Names": "NAMES", "Status": "STATUS", "Id": "ID"}) == "NAMES\tSTATUS\tID"


def test_a_template_can_not_print_without_end():
    nested = "{{range .N}}" * 8 + "x" + "{{end}}" * 8
    with pytest.raises(InvalidInput):
        Template(nested).render({"N": list(range(100))})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{" + "9" * 5000 + "}}", "is too long a number"),
        ("{{index .Names " + "9" * 5000 + "}}", "is too long a number"),
        (r'{{"\x"}}', "is not a string"),
        ('{{printf "%99999999999d" 1}}', "error calling printf: %99999999999 is too wide"),
        ('{{printf "%-1.99999999f" 1}}', "error calling printf: %-1.99999999 is too wide"),
        ('{{printf "%c" 99999999999}}', "error calling printf: "),
        ('{{pad "a" 1 99999999999}}', "error calling pad: too many spaces"),
        ("{{range 99999999999}}{{end}}", "it does not come to an end"),
        ("{{range 9999}}{{range 9999}}{{end}}{{end}}", "it does not come to an end"),
        ("{{" + "(" * 3000 + ".Id" + ")" * 3000 + "}}", "it is nested too deeply"),
        ("{{if .Id}}" * 3000 + "{{end}}" * 3000, "it is nested too deeply"),
        ("{{if .Id}}{{else " + "if .Id}}{{else " * 3000 + "}}{{end}}", "it is nested too deeply"),
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_template_is_told_in_one_line(template, message):
    with pytest.raises(InvalidInput) as caught:
        Template(template).render(THING)
    assert message in caught.value.message and "\n" not in caught.value.message


def test_what_is_nested_and_wide_within_reason():
    assert Template("{{" + "(" * 90 + "len .Id" + ")" * 90 + "}}").render({"Id": "abc"}) == "3"
    assert Template("{{if .A}}" * 90 + "x" + "{{end}}" * 90).render({"A": 1}) == "x"
    assert Template("{{if .A}}x{{end}}" * 200).render({"A": 1}) == "x" * 200
    assert (
        Template('{{range 3}}{{.}}{{end}}{{range 0}}{{else}}none{{end}}{{printf "%05d" 7}}').render({})
        == "012none00007"
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{.Label "a.b"}}', "1"),
        ('{{.Label "none"}}|{{if .Label "none"}}x{{end}}', "|"),
        ('{{"a.b" | .Label | printf "<%s>"}}{{(.Label "a.b")}}', "<1>1"),
        ('{{$x := .}}{{$x.Label "c"}} {{$.Label "c"}}', "2 2"),
        ("{{.Labels}} {{json .}}", 'a.b=1,c=2 {"ID":"x","Labels":"a.b=1,c=2"}'),
    ],
)
def test_one_label_by_its_key(template, text):
    assert Template(template).render(labelled({"ID": "x"}, {"c": "2", "a.b": "1"})) == text
    assert labelled({}, None) == {"Labels": ""}


@pytest.mark.parametrize(
    "template", ["{{.Label}}", "{{json .Label}}", '{{.Label "a" "b"}}', "{{range .Label}}{{end}}"]
)
def test_a_method_without_its_argument_is_told(template):
    with pytest.raises(InvalidInput, match="template parsing error: "):
        Template(template).render(labelled({"ID": "x"}, {"a": "1"}))


def test_a_field_that_is_left_out_where_it_is_empty_has_its_zero_value():
    thing = {"State": Struct({"Pid": 1}, {"Health": None})}
    assert Template("{{if .State.Health}}x{{end}}{{.State.Health.Status}}").render(thing) == "<no value>"
    assert Template("{{json .State}}").render(thing) == '{"Pid":1}'
    with pytest.raises(InvalidInput, match="no field .Wealth in .State"):
        Template("{{.State.Wealth}}").render(thing)


@pytest.mark.parametrize(
    "template",
    [
        "{{.Actor.Attributes.name}}",
        "{{with .Actor.Attributes}}{{.name}}{{end}}",
        "{{$known := .Actor.Attributes}}{{$known.name}}",
        "{{(.Actor.Attributes).name}}",
        "{{range .All}}{{(.Attributes).name}}{{end}}",
    ],
)
def test_a_map_stays_one_on_whatever_way_it_is_reached(template):
    about = {"Attributes": {"driver": "local"}}
    assert Template(template).render({"Actor": about, "All": [about]}) == "<no value>"


def test_a_struct_whose_name_is_that_of_a_map_is_none():
    with pytest.raises(InvalidInput, match=r"no field \.Nope in \.Config"):
        Template("{{.Config.Nope}}").render({"Config": Struct({"Cmd": None}, {})})


NULLS = {
    "HostConfig": {
        "Links": None,
        "PidsLimit": None,
        "RestartPolicy": shape({"Name": "no", "MaximumRetryCount": 0}, "RestartPolicy"),
    },
    "Labels": None,
    "LogConfig": shape({"Type": "json-file", "Config": {}}, "LogConfig"),
    "Mounts": [
        shape(
            {
                "Type": "bind",
                "Source": "/s",
                "Destination": "/d",
                "Mode": "",
                "RW": True,
                "Propagation": "rprivate",
            },
            "MountPoint",
        )
    ],
    "Volumes": shape({"/v": {}}, "{}Nothing"),
    "Options": {"Name": "x", "MaximumRetryCount": "1"},
    "Other": None,
    "Config": Struct({}, {"Shell": None, "Healthcheck": None}),
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "{{.HostConfig.Links}} {{.Labels}} {{.HostConfig.PidsLimit}} {{.Other}}",
            "[] map[] <nil> <no value>",
        ),
        ("{{json .HostConfig.Links}} {{json .Labels}} {{json .HostConfig.PidsLimit}}", "null null null"),
        (
            "{{json .HostConfig}}",
            '{"Links":null,"PidsLimit":null,"RestartPolicy":{"Name":"no","MaximumRetryCount":0}}',
        ),
        ('{{printf "%v %s" .HostConfig.Links .Labels}}|{{join .HostConfig.Links ","}}|', "[] map[]||"),
        ("{{len .HostConfig.Links}}{{range .HostConfig.Links}}x{{else}}y{{end}}{{if .Labels}}x{{end}}", "0y"),
        ('{{index .Labels "a"}}|{{.Labels.a}}|{{with .Labels}}{{else}}none{{end}}', "|<no value>|none"),
        ("{{.HostConfig.RestartPolicy}} {{.LogConfig}}", "{no 0} {json-file map[]}"),
        ("{{.Mounts}}", "[{bind  /s /d   true rprivate}]"),
        ("{{.Volumes}} {{.Options}}", "map[/v:{}] map[MaximumRetryCount:1 Name:x]"),
        ("{{.Config.Shell}} {{.Config.Healthcheck}}", "[] <nil>"),
        ("{{if eq .HostConfig.PidsLimit nil}}y{{end}}{{if ne .Labels nil}}x{{end}}", "y"),
    ],
)
def test_null_is_what_docker_declares_there(template, text):
    assert Template(template).render(NULLS) == text


def test_fields_are_known_by_their_names_in_go_too() -> None:
    value = {"Id": "abc", "HostConfig": {"NanoCpus": 5, "Dns": ["1.1.1.1"]}, "Labels": {"Id": "x"}}
    assert Template("{{.ID}} {{.HostConfig.NanoCPUs}} {{.HostConfig.DNS}}").render(value) == "abc 5 [1.1.1.1]"
    assert Template("{{.Labels.ID}}").render(value) == "<no value>"


@pytest.mark.parametrize(
    ("more", "last"), [({}, "<nil>"), ({"Health": {"Status": "healthy"}}, "0xc000000000")]
)
def test_a_state_is_printed_as_go_prints_it(more, last):
    shapes = json.loads(
        (pathlib.Path(__file__).parents[3] / "system/containers/docker26-shapes.json").read_text()
    )
    flags = dict.fromkeys(("Running", "Paused", "Restarting", "OOMKilled", "Dead"), False)
    state = {
        "Status": "running",
        **flags,
        "Pid": 7,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "A",
        "FinishedAt": "B",
    }
    assert list(state) == list(shapes["running"]["State"])
    row = {"State": shape(dict(sorted({**state, "Running": True, **more}.items())), "State")}
    assert Template("{{.State}}").render(row) == f"{{running true false false false false 7 0  A B {last}}}"
    assert Template("{{.State.Pid}} {{json .State.Error}}").render(row) == '7 ""'
