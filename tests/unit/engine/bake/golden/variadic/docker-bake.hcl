function "f" {
 params = [a]
 variadic_params = rest
 result = join(",", concat([a], rest))
}
target "default" {
 args = { a = f("x"), b = f("x","y","z")}
}
