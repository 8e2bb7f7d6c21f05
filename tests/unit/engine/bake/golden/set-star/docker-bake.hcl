target "a" {
}
target "b" {
 tags = []
 args = {}
 dockerfile-inline="FROM x"
}
