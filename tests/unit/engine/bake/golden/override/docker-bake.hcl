group "default" {
 targets = ["a"]
}
variable "X" {
 default = "base"
}
target "a" {
 tags = ["t"]
 args = { A = X }
 context = "./q/../w/"
 dockerfile = "./Df"
}
target "b" {
 context = "cwd://z"
 contexts = { m = "./x/" , n = "target:a"}
}
