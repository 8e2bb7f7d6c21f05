target "a" {
 matrix = { i = [{n="x",v="1"},{n="y",v="2"}] }
 name = i.n
 args = { V = i.v }
}
