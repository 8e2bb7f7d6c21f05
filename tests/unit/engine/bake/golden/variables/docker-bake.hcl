variable "B" {
 default = true
}
variable "N" {
 default = 5
}
target "a" {
 args = { b = B ? "yes" : "no", n = N + 1 }
}
