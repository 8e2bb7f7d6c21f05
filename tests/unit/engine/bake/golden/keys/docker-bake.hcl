target "a" {
 args = { "k-1" = "v", "${upper("k")}" = "w" }
}
