group "default" {
 targets = ["b"]
}
variable "X" {
 default = "over"
}
target "a" {
 tags = ["o"]
 args = { B = "2" }
}
