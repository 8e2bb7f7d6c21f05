function "f" {
 params = [a, b]
 result = "${a}-${b}"
}
target "default" {
 args = { a = f("x", 1), b = f(["p","q"]...)}
}
