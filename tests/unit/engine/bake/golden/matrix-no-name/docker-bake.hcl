target "default" {
 matrix = { a = ["x"] }
}
