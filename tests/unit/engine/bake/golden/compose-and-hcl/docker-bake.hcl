target "a" {
 tags = ["x"]
}
target "b" {}
