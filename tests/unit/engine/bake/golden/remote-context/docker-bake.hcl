target "a" {
 context = "https://github.com/a/b.git#main:x"
 dockerfile = "d/Dockerfile"
}
