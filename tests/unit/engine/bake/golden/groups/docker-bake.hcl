group "default" {
 targets = ["a","g"]
}
group "g" {
 targets = ["b","h"]
}
group "h" {
 targets=["c"]
}
target "a" {}
target "b" {}
target "c" {}
