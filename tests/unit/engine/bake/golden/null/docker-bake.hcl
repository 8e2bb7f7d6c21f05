variable "X" {
}
variable "Y" {
 default = null
}
target "default" {
 args = { a = X, b = Y , c = equal(Y, null) }
 annotations = ["a=b"]
 attest = ["type=sbom"]
 labels = { b = 1, a = "x<y" }
}
