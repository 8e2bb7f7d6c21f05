target "default" {
 foo = 1
}
