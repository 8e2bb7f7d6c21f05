target "x" {
  name = "n-${a}"
  matrix = { a = ["1","2"] }
  contexts = { q = "target:w" }
}
target "w" {
 context = target.n-1.context
 args = { a = BAKE_CMD_CONTEXT, b = BAKE_LOCAL_PLATFORM }
}
G = "hi"
target "v" {
 args = { a = G, b= target.w.args.b}
}
