target "p" {
 args = {a="1", b="2"}
 tags=["p"]
 platforms=["linux/amd64"]
 cache-from=["p"]
}
target "q" {
 args={b="3"}
 cache-from=["q"]
 output=["type=docker"]
}
target "a" {
 inherits=["p","q"]
 args={c="4"}
}
