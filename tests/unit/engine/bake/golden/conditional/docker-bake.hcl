variable "P" {
 default = ""
}
target "a" {
 tags = notequal("", P) ? ["x:${P}"] : ["x:latest"]
 labels = { "org.x" = timestamp() != "" ? "t" : "f" }
}
