variable "L" {
 default = ["a"]
}
target "a" {
 tags = [for x in L : "r/${x}:1" if x != ""]
}
